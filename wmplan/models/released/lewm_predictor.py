"""LeWM's sizes, and the networks that predict: the action embedder and the conditioned transformer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wmplan.models.errors import CheckpointError
from wmplan.models.linear import Linear
from wmplan.models.released.architecture import MOST_NUMBERS, read_positive, read_size
from wmplan.models.released.frame_causal import KVCache
from wmplan.models.released.hf_vit import ViTConfig
from wmplan.models.released.projector import make_map, read_projector
from wmplan.models.released.transformer import Attention, FeedForward


@dataclass(frozen=True)
class LeWMConfig:
    """Sizes of a LeWM: of its ViT, its two projectors, its action embedding and its predictor.

    width is D, of the embeddings; hidden is the predictor's own width and output that of what it gives to pred_proj,
    equal to D in all releases. A projector is its hidden width and the name of its norm, or None: stable-worldmodel's
    PLDM has the same form and may leave it out.
    """

    vit: ViTConfig
    width: int
    projector: tuple[int, str] | None
    pred_proj: tuple[int, str] | None
    action_input: int
    action_smoothed: int
    action_scale: int
    num_frames: int
    hidden: int
    output: int
    depth: int
    heads: int
    dim_head: int
    mlp_dim: int

    @classmethod
    def from_architecture(cls, architecture: Mapping[str, Any]) -> LeWMConfig:
        """From the field names of the fixtures' config.json.

        Raises:
            CheckpointError: naming the field that is missing or no size.
        """
        image_size = read_size(architecture, "image_size")
        names = ("hidden_size", "depth", "num_heads", "intermediate_size")
        vit = ViTConfig(
            image_size=image_size,
            patch_size=read_size(architecture, "patch_size"),
            layer_norm_eps=read_positive(architecture, "encoder.layer_norm_eps", 1e-12),
            **{name: read_size(architecture, f"encoder.{name}") for name in names},
        )
        width = read_size(architecture, "predictor.input_dim")
        output = read_size(architecture, "predictor.output_dim", width)
        pred_proj = read_projector(architecture, "pred_proj")
        if pred_proj is None and output != width:
            raise CheckpointError(f"without pred_proj, predictor.output_dim must be the latent's width, {width}")
        return cls(
            vit=vit,
            width=width,
            projector=read_projector(architecture, "projector"),
            pred_proj=pred_proj,
            action_input=read_size(architecture, "action_encoder.input_dim", most=MOST_NUMBERS),
            action_smoothed=read_size(architecture, "action_encoder.smoothed_dim", 10),
            action_scale=read_size(architecture, "action_encoder.mlp_scale", 4),
            num_frames=read_size(architecture, "predictor.num_frames"),
            hidden=read_size(architecture, "predictor.hidden_dim", width),
            output=output,
            **{
                name: read_size(architecture, f"predictor.{name}") for name in ("depth", "heads", "dim_head", "mlp_dim")
            },
        )


class ActionEmbedder(nn.Module):
    """A per-step linear map (stored as a convolution of kernel 1), then linear, SiLU, linear."""

    def __init__(self, config: LeWMConfig) -> None:
        super().__init__()
        wide = config.action_scale * config.width
        self.patch_embed = nn.Conv1d(config.action_input, config.action_smoothed, 1)
        self.embed = nn.Sequential(Linear(config.action_smoothed, wide), nn.SiLU(), Linear(wide, config.width))

    def forward(self, actions: Tensor) -> Tensor:
        """Actions (n, f, A) to embeddings (n, f, D)."""
        smoothed = F.linear(actions, self.patch_embed.weight.squeeze(2), self.patch_embed.bias)
        out: Tensor = self.embed(smoothed)
        return out


class ConditionalBlock(nn.Module):
    """A transformer block whose shifts, scales and gates come from the action beside each frame (AdaLN-zero)."""

    def __init__(self, config: LeWMConfig) -> None:
        super().__init__()
        self.attn = Attention(config.hidden, config.heads, config.dim_head)
        self.mlp = FeedForward(config.hidden, config.mlp_dim)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), Linear(config.hidden, 6 * config.hidden))

    def forward(self, tokens: Tensor, modulation: Tensor, memory: KVCache, layer: int, newest_only: bool) -> Tensor:
        """Tokens (n, f, hidden), one a frame, with modulation (n, f, 6 x hidden) made by adaLN_modulation."""
        shift, scale, gate, *_ = modulation.chunk(6, dim=-1)
        normed = F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6) * (1 + scale) + shift
        attended = self.attn(normed, memory, layer, newest_only)
        if newest_only:
            tokens, modulation = tokens[:, -1:], modulation[:, -1:]
        *_, gate, mlp_shift, mlp_scale, mlp_gate = modulation.chunk(6, dim=-1)
        tokens = tokens + gate * attended
        normed = F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6) * (1 + mlp_scale) + mlp_shift
        out: Tensor = tokens + mlp_gate * self.mlp(normed)
        return out


class Transformer(nn.Module):
    """The blocks and the final norm, with maps into and out of the predictor's own width where those differ."""

    def __init__(self, config: LeWMConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden)
        self.layers = nn.ModuleList(ConditionalBlock(config) for _ in range(config.depth))
        self.input_proj = make_map(config.width, config.hidden)
        self.cond_proj = make_map(config.width, config.hidden)
        self.output_proj = make_map(config.hidden, config.output)

    def modulate(self, embedded: Tensor) -> Tensor:
        """What every block makes of action embeddings (n, f, D), of shape (n, f, depth, 6 x hidden)."""
        condition = self.cond_proj(embedded)
        return torch.stack([cast(ConditionalBlock, layer).adaLN_modulation(condition) for layer in self.layers], dim=2)

    def forward(self, tokens: Tensor, modulation: Tensor, memory: KVCache, newest_only: bool = True) -> Tensor:
        """Tokens (n, f, D) of f new frames to outputs (n, 1, output) of the newest, or (n, f, output) of all."""
        tokens = self.input_proj(tokens)
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            tokens = layer(tokens, modulation[:, :, i], memory, i, newest_only and i == last)
        out: Tensor = self.output_proj(self.norm(tokens))
        return out


class Predictor(nn.Module):
    """Learned positions, the oldest frame of the window first, and the transformer."""

    def __init__(self, config: LeWMConfig) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.zeros(1, config.num_frames, config.width))
        self.transformer = Transformer(config)

    def forward(
        self, latents: Tensor, modulation: Tensor, slot: int, memory: KVCache, newest_only: bool = True
    ) -> Tensor:
        """Latents (n, f, D) that begin at `slot` of the window, to outputs as Transformer has them."""
        positions = self.pos_embedding[:, slot : slot + latents.shape[1]]
        out: Tensor = self.transformer(latents + positions, modulation, memory, newest_only)
        return out
