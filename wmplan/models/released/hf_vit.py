"""A ViT with a cls token, under the parameter names that transformers < 5 gives it: LeWM's encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wmplan.errors import UserError
from wmplan.models.linear import Linear, gelu


@dataclass(frozen=True)
class ViTConfig:
    """Sizes of the ViT: pixels of the square image, of a patch, and of the transformer."""

    image_size: int
    patch_size: int
    hidden_size: int
    depth: int
    num_heads: int
    intermediate_size: int
    layer_norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            raise UserError(f"image_size {self.image_size} is no multiple of patch_size {self.patch_size}")
        if self.hidden_size % self.num_heads:
            raise UserError(f"hidden_size {self.hidden_size} is no multiple of num_heads {self.num_heads}")

    @property
    def patches(self) -> int:
        return (self.image_size // self.patch_size) ** 2


class Embeddings(nn.Module):
    """Patch embedding, cls token first, plus learned positions."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position_embeddings = nn.Parameter(torch.zeros(1, 1 + config.patches, width))
        self.patch_embeddings = nn.ModuleDict({"projection": nn.Conv2d(3, width, patch, patch)})

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, 3, H, W) as tokens (n, 1 + P, width), patches row-major."""
        patches = self.patch_embeddings["projection"](images).flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.position_embeddings


class Layer(nn.Module):
    """x += attn(LN x); x += mlp(LN x)."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.heads = config.num_heads
        self.attention = nn.ModuleDict(
            {
                "attention": nn.ModuleDict({name: Linear(width, width) for name in ("query", "key", "value")}),
                "output": nn.ModuleDict({"dense": Linear(width, width)}),
            }
        )
        self.intermediate = nn.ModuleDict({"dense": Linear(width, config.intermediate_size)})
        self.output = nn.ModuleDict({"dense": Linear(config.intermediate_size, width)})
        self.layernorm_before = nn.LayerNorm(width, eps=eps)
        self.layernorm_after = nn.LayerNorm(width, eps=eps)

    def forward(self, tokens: Tensor) -> Tensor:
        normed = self.layernorm_before(tokens)
        maps = cast(nn.ModuleDict, self.attention["attention"])
        q, k, v = (
            maps[name](normed).unflatten(2, (self.heads, -1)).transpose(1, 2) for name in ("query", "key", "value")
        )
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        tokens = tokens + cast(nn.ModuleDict, self.attention["output"])["dense"](attended)
        hidden = gelu(self.intermediate["dense"](self.layernorm_after(tokens)))
        return tokens + self.output["dense"](hidden)


class ViT(nn.Module):
    """Images (n, 3, H, W) to all tokens after the final norm (n, 1 + P, width), the cls token first."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer(config) for _ in range(config.depth))})
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.embeddings(images)
        for layer in cast(nn.ModuleList, self.encoder["layer"]):
            tokens = layer(tokens)
        normed: Tensor = self.layernorm(tokens)
        return normed
