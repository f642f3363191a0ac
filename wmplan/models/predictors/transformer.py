"""A causal transformer over the window, conditioned on the actions by adaptive layer norms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wmplan.models.encoders.vit import Attention, mlp
from wmplan.models.linear import Linear
from wmplan.models.predictors.base import Predictor
from wmplan.models.registry import require_positive
from wmplan.registry import register_predictor


class AdaptiveBlock(nn.Module):
    """A transformer block whose norms are shifted, scaled and gated by a condition (AdaLN-Zero, Peebles & Xie 2023)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention, self.perceptron = Attention(width, heads), mlp(width)  # names that checkpoints have
        self.modulation = Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """Tokens and condition (N, h, width) to tokens."""
        shift, scale, gate, shift_2, scale_2, gate_2 = self.modulation(condition).chunk(6, -1)
        normed = F.layer_norm(tokens, tokens.shape[-1:]) * (1 + scale) + shift
        tokens = tokens + gate * self.attention(normed, causal=True)
        normed = F.layer_norm(tokens, tokens.shape[-1:]) * (1 + scale_2) + shift_2
        return tokens + gate_2 * self.perceptron(normed)


@register_predictor("transformer")
class TransformerPredictor(Predictor):
    """The next latent is the newest one plus what the last token says.

    Args:
        latent_dim: L.
        action_dim: A.
        history: h.
        action_block: of no concern here: a block goes in whole.
        width, depth, heads: of the transformer.
    """

    def __init__(
        self,
        latent_dim: int,
        action_dim: int,
        history: int,
        action_block: int = 1,
        *,
        width: int = 192,
        depth: int = 3,
        heads: int = 4,
    ) -> None:
        super().__init__()
        require_positive("transformer predictor", width=width, depth=depth, heads=heads)
        self.history = history
        self.latent_in = Linear(latent_dim, width)
        self.action_in = nn.Sequential(Linear(action_dim, width), nn.SiLU(), Linear(width, width), nn.SiLU())
        self.position = nn.Parameter(torch.empty(history, width))
        nn.init.normal_(self.position, std=0.02)
        self.blocks = nn.ModuleList(AdaptiveBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.out = Linear(width, latent_dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def step(self, latents: Sequence[Tensor], actions: Sequence[Tensor]) -> Tensor:
        window = torch.stack(torch.broadcast_tensors(*(self.latent_in(z) for z in latents)), 2)  # (B, S or 1, h, width)
        condition = torch.stack(torch.broadcast_tensors(*(self.action_in(a) for a in actions)), 2)  # (B, S, h, width)
        window, condition = torch.broadcast_tensors(window + self.position, condition)
        batch, candidates = window.shape[:2]
        tokens, condition = window.flatten(0, 1), condition.flatten(0, 1)  # (B S, h, width)
        for block in self.blocks:
            tokens = block(tokens, condition)
        change = self.out(self.norm(tokens[:, -1])).unflatten(0, (batch, candidates))  # (B, S, L)
        return latents[-1] + change
