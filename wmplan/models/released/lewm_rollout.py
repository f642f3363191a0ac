"""LeWM's predictor rolled out with the work left out that changes nothing.

What a window of frames costs is reduced by algebra, exact but for rounding:

* The oldest frame of a window sees itself alone, so what its attention gives is a linear map of its tokens: output
  times values, D x D, in place of maps into queries, keys and values and out of them.
* Softmax does not change when all logits of a query are shifted by the same number, and its weights sum to 1. So
  keys and values are taken of differences to the oldest frame: it needs none of its own, and what its values would
  have given is the same for all frames of the window, the linear map above.
* The affine parts of the norms before linear maps, the scale of the logits and the 1 of 1 + scale are folded into
  weights and biases, once for a set of weights.

With the oldest frame's own part W_o W_v x_0, d_j = x_j - x_0, and logits l_ij = q_i . W_k d_j / sqrt(dim_head):

    attention_i = W_o W_v x_0 + W_o sum_j a_ij W_v d_j,   (., a_i1, ..., a_ii) = softmax(0, l_i1, ..., l_ii)

What frame_causal says of sharing holds here too: frames that candidates share pass once for each environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wmplan.models.linear import PackedWeight, gelu
from wmplan.models.released.lewm_predictor import ActionEmbedder, ConditionalBlock, Predictor
from wmplan.models.released.projector import Projector

INNER_EPS, OUTER_EPS = 1e-5, 1e-6  # of the norms in front of linear maps, and of those that actions modulate


class FoldedBlock:
    """The weights of one block, folded; computed in float32 at least and kept in the model's type."""

    def __init__(self, block: ConditionalBlock, wide: torch.dtype) -> None:
        attention, net = block.attn, block.mlp.net
        self.heads, dim_head = attention.heads, attention.inner // attention.heads
        norm, first, last = (cast(nn.LayerNorm, net[0]), cast(nn.Linear, net[1]), cast(nn.Linear, net[4]))
        kept = attention.to_qkv.weight.dtype
        weights = attention.to_qkv.weight.to(wide)
        gain, shift = attention.norm.weight.to(wide), attention.norm.bias.to(wide)
        query, key, value = weights.split(attention.inner)
        if isinstance(attention.to_out, nn.Identity):
            out, out_bias = torch.eye(attention.inner, dtype=wide, device=weights.device), weights.new_zeros(())
        else:
            linear = cast(nn.Linear, attention.to_out[0])
            out, out_bias = linear.weight.to(wide), linear.bias.to(wide)
        scale = dim_head**-0.5
        own = out @ value
        self.query = PackedWeight((scale * query * gain).to(kept), (scale * (query @ shift)).to(kept))
        self.key_value = PackedWeight((torch.cat([key, value]) * gain).to(kept))  # biases cancel in the differences
        self.own = PackedWeight((own * gain).to(kept), (own @ shift + out_bias).to(kept))
        self.out = PackedWeight(out.to(kept))
        self.up = PackedWeight(*(part.to(kept) for part in _folded_linear(first, norm, wide)))
        self.down = PackedWeight(last.weight, last.bias)
        modulation = cast(nn.Linear, block.adaLN_modulation[1])
        ones = torch.zeros_like(modulation.bias).unflatten(0, (6, -1))
        ones[[1, 4]] = 1.0  # 1 + scale
        self.modulation = PackedWeight(modulation.weight, modulation.bias + ones.flatten())


def _folded_linear(linear: nn.Linear, norm: nn.LayerNorm, wide: torch.dtype) -> tuple[Tensor, Tensor]:
    weight, shift = linear.weight.to(wide), norm.bias.to(wide)
    return weight * norm.weight.to(wide), weight @ shift + linear.bias.to(wide)


@dataclass
class WindowCache:
    """What the frames of a window leave behind in one layer, of one row for each candidate or environment.

    Attributes:
        oldest: the oldest frame, normalised, of shape (b, s, 1, D).
        own: its part in every frame's attention, of shape (b, s, 1, D).
        keys, values: of the frames after it, of shape (b, s, heads, dim_head) each.
    """

    oldest: Tensor
    own: Tensor
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)


def attend(queries: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor]) -> Tensor:
    """What the newest frames' attention gives beyond the oldest frame's part.

    Args:
        queries: of the newest r frames, scaled, of shape (b, s, r, heads, dim_head).
        keys, values: of the differences of all frames but the oldest, of shape (b, s or 1, heads, dim_head) each.

    Returns:
        Of shape (b, s, r, heads x dim_head).
    """
    asking, outs = queries.shape[2], torch.empty_like(queries)
    for i, (query, out) in enumerate(zip(queries.unbind(2), outs.unbind(2), strict=True)):
        seen = len(keys) - asking + i + 1
        logits = [(query * key).sum(-1, keepdim=True) for key in keys[:seen]]  # (b, s, heads, 1) each
        if seen == 1:
            weights = [logits[0].sigmoid()]  # softmax of 0 and the logit
        else:
            weights = list(torch.stack([torch.zeros_like(logits[0]), *logits]).softmax(0))[1:]
        torch.mul(values[0], weights[0], out=out)
        for value, weight in zip(values[1:seen], weights[1:], strict=True):
            out.addcmul_(value, weight)
    return outs.flatten(3)


class FoldedPredictor:
    """The predictor of a LeWM with the weights of its blocks folded, for inference.

    Args:
        predictor, action_encoder, pred_proj: of the model; their weights are folded as they are now.
        window: frames that the predictor sees at most.
        dtype: of the weights.
        compiled: whether torch.compile makes the passes; each new shape then takes a minute the first time.
    """

    def __init__(
        self,
        predictor: Predictor,
        action_encoder: ActionEmbedder,
        pred_proj: nn.Module,
        window: int,
        dtype: torch.dtype,
        compiled: bool = False,
    ) -> None:
        wide = torch.promote_types(dtype, torch.float32)
        self.predictor, self.action_encoder, self.window = predictor, action_encoder, window
        self.dtype, self.latent_dtype = dtype, wide
        transformer = predictor.transformer
        self.blocks = [FoldedBlock(cast(ConditionalBlock, layer), wide) for layer in transformer.layers]
        self.project = pred_proj.folded() if isinstance(pred_proj, Projector) else pred_proj
        self._advance = torch.compile(self.advance) if compiled else self.advance

    # ------------------------------------------------------------------ one pass

    def condition(self, actions: Tensor) -> list[Tensor]:
        """Shift, 1 + scale, gate, and the same of the MLP, by layer: (b, s, f, 6, hidden) each.

        Args:
            actions: normalised, of shape (b, s, f, A).
        """
        embedded = F.silu(self.predictor.transformer.cond_proj(self.action_encoder(actions.to(self.dtype))))
        return [b.modulation(embedded).unflatten(-1, (6, -1)) for b in self.blocks]

    def advance(self, latents: Tensor, conditions: Sequence[Tensor], slot: int, seen: list[WindowCache]) -> Tensor:
        """The latent after the newest of f new frames.

        Args:
            latents: of the new frames, of shape (b, s, f, D).
            conditions: what condition() gave for their actions.
            slot: place of the first of them in the window, 0 for the oldest.
            seen: the frames before them, by layer; holds these too afterwards. Empty at slot 0.

        Returns:
            Of shape (b, s, D).
        """
        transformer = self.predictor.transformer
        positions = self.predictor.pos_embedding[0, slot : slot + latents.shape[2]]
        tokens = transformer.input_proj(latents.to(self.dtype) + positions)
        for i, (block, modulation) in enumerate(zip(self.blocks, conditions, strict=True)):
            tokens = self._block(block, tokens, modulation, seen, i, i == len(self.blocks) - 1)
        predicted = transformer.output_proj(transformer.norm(tokens[:, :, -1]))
        out: Tensor = self.project(predicted.flatten(0, 1)).unflatten(0, predicted.shape[:2])
        return out.to(self.latent_dtype)

    def _block(
        self, block: FoldedBlock, tokens: Tensor, modulation: Tensor, seen: list[WindowCache], layer: int, newest: bool
    ) -> Tensor:
        """Tokens (b, s, f, hidden) through one block, or the newest alone, (b, s, 1, hidden)."""
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = modulation.unbind(-2)
        width = tokens.shape[-1:]
        normed = torch.addcmul(shift, F.layer_norm(tokens, width, eps=OUTER_EPS), scale)
        normed = F.layer_norm(normed, width, eps=INNER_EPS)
        if len(seen) == layer:  # the window's oldest frame is among these
            oldest = normed[:, :, :1].contiguous()
            seen.append(WindowCache(oldest, block.own(oldest)))
            normed = normed[:, :, 1:].contiguous()  # a matrix product of its rows in one piece, not one for each
        here = seen[layer]
        if newest:
            tokens, asking = tokens[:, :, -1:], normed[:, :, -1:].contiguous()
            gate, mlp_shift, mlp_scale, mlp_gate = (part[:, :, -1:] for part in (gate, mlp_shift, mlp_scale, mlp_gate))
        else:
            asking = normed
        tokens = torch.addcmul(tokens, gate, here.own)
        if normed.shape[2]:
            both = block.key_value(normed - here.oldest)  # (b, s, r, 2 x inner)
            keys, values = both.unflatten(-1, (2, block.heads, -1)).unbind(3)  # (b, s, r, heads, dim_head)
            here.keys += keys.unbind(2)
            here.values += values.unbind(2)
            queries = block.query(asking).unflatten(-1, (block.heads, -1))
            count = queries.shape[2]
            attended = block.out(attend(queries, here.keys, here.values))
            tokens[:, :, -count:].addcmul_(gate[:, :, -count:], attended)
        normed = torch.addcmul(mlp_shift, F.layer_norm(tokens, width, eps=OUTER_EPS), mlp_scale)
        hidden = gelu(block.up(F.layer_norm(normed, width, eps=INNER_EPS)))
        return tokens.addcmul_(mlp_gate, block.down(hidden))

    # ------------------------------------------------------------------ a rollout

    def rollout(
        self,
        context: Tensor,
        actions: Tensor,
        past: Tensor | None,
        size: int,
        last_only: bool,
        starts: list[int],
    ) -> Tensor:
        """Predicted latents (b, S, H or 1, D).

        Args:
            context: latents, of shape (b, T, D).
            actions: normalised candidates, of shape (b, S, H, A).
            past: normalised actions between the context's frames, of shape (b, T - 1, A), or None.
            size: candidates in one pass.
            last_only: whether only the last step's are given.
            starts: first frame of the window at each step.
        """
        time = context.shape[1]
        shared: dict[int, list[WindowCache]] = {}
        if past is not None and time > 1:
            conditions = self.condition(past[:, None])
            for start in {one for one in starts if one < time - 1}:
                shared[start] = []
                frames = context[:, None, start:-1]
                self._advance(frames, [one[:, :, start:] for one in conditions], 0, shared[start])
        parts = [self._rollout_chunk(context, one, starts, shared, last_only) for one in actions.split(size, 1)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _rollout_chunk(
        self, context: Tensor, actions: Tensor, starts: list[int], shared: dict[int, list[WindowCache]], last_only: bool
    ) -> Tensor:
        newest = context.shape[1] - 1  # the first frame whose action differs between candidates
        conditions = self.condition(actions)
        latents = [context[:, -1:].expand(-1, actions.shape[1], -1)]  # (b, s, D) each
        seen: list[WindowCache] = []
        for step, start in enumerate(starts):
            if step == 0 or start != starts[step - 1]:
                before = shared.get(start, [])
                seen = [WindowCache(one.oldest, one.own, list(one.keys), list(one.values)) for one in before]
                first = max(start, newest)
            else:
                first = newest + step
            window = torch.stack(latents[first - newest :], dim=2)  # (b, s, f, D)
            chosen = [one[:, :, first - newest : step + 1] for one in conditions]
            latents.append(self._advance(window, chosen, first - start, seen))
        return torch.stack(latents[-1:] if last_only else latents[1:], dim=2)
