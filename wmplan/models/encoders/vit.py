"""A small vision transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wmplan.errors import UserError
from wmplan.models.encoders.pixels import require_divisible, scale, space_to_depth
from wmplan.models.linear import Linear
from wmplan.models.registry import require_positive
from wmplan.models.rope import Rotation
from wmplan.registry import register_encoder


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f"heads is {heads}, it has to divide the width, {width}")
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)

    def forward(self, tokens: Tensor, causal: bool = False, rotation: Rotation | None = None) -> Tensor:
        """(N, tokens, width) to the same; `causal` hides from each token those after it, `rotation` tells places."""
        qkv = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).transpose(1, 3)  # (N, heads, 3, tokens, width/heads)
        queries, keys, values = qkv.unbind(2)
        if rotation is not None:
            queries, keys = rotation(queries), rotation(keys)
        mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=causal)
        return self.out(mixed.transpose(1, 2).flatten(2))


def mlp(width: int) -> nn.Sequential:
    """The two-layer MLP of a transformer block."""
    return nn.Sequential(Linear(width, 4 * width), nn.GELU(), Linear(4 * width, width))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_attention, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm_perceptron, self.perceptron = nn.LayerNorm(width), mlp(width)  # names that checkpoints have

    def forward(self, tokens: Tensor, rotation: Rotation | None = None, causal: bool = False) -> Tensor:
        """(N, tokens, width) to the same; `causal` hides from each token those after it."""
        tokens = tokens + self.attention(self.norm_attention(tokens), causal, rotation)
        return tokens + self.perceptron(self.norm_perceptron(tokens))


@register_encoder("vit")
class ViTEncoder(nn.Module):
    """Dosovitskiy et al. 2021, with the mean of the tokens in place of a class token.

    Args:
        image_size: (height, width) of the frames.
        latent_dim: D.
        patch: pixels a side of a patch.
        width, depth, heads: of the transformer.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        latent_dim: int,
        *,
        patch: int = 8,
        width: int = 96,
        depth: int = 4,
        heads: int = 3,
    ) -> None:
        super().__init__()
        require_positive("vit encoder", latent_dim=latent_dim, width=width, depth=depth, heads=heads)
        require_divisible(image_size, patch, "patch")
        self.patch = patch
        self.embed = Linear(3 * patch**2, width)
        self.position = nn.Parameter(torch.empty((image_size[0] // patch) * (image_size[1] // patch), width))
        nn.init.normal_(self.position, std=0.02)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = Linear(width, latent_dim)

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 frames (N, H, W, 3) to latents (N, D)."""
        patches = scale(space_to_depth(frames, self.patch), self.position.dtype)  # (N, rows, columns, pixels)
        tokens = self.embed(patches).flatten(1, 2) + self.position  # (N, tokens, width)
        return self.head(self.norm(self.blocks(tokens)).mean(1))
