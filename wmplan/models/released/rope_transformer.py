"""The attention and MLP that V-JEPA 2 and JEPA-WM have in common, under the names of their releases."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from wmplan.models.linear import Linear, gelu
from wmplan.models.released.frame_causal import KVCache
from wmplan.models.rope import Rotation


class RopeAttention(nn.Module):
    """Multi-head attention with a fused qkv, rows ordered q, k, v and then head-major."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)

    def forward(
        self,
        tokens: Tensor,
        rotation: Rotation,
        memory: KVCache | None = None,
        layer: int = 0,
        newest_only: bool = False,
    ) -> Tensor:
        """Attention of tokens (n, f x M, width) to themselves and to `memory`, or without one full attention.

        Args:
            newest_only: give the newest frame's M tokens alone.
        """
        q, k, v = (
            self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )  # each (n, heads, tokens, h)
        q, k = rotation(q), rotation(k)
        if memory is None:
            attended = F.scaled_dot_product_attention(q, k, v)
        else:
            attended = memory.attend(layer, q[:, :, -memory.tokens :] if newest_only else q, k, v)
        out: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return out


class Perceptron(nn.Module):
    """Linear, exact GELU, linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.fc2(gelu(self.fc1(tokens)))
        return out


class RopeBlock(nn.Module):
    """x += attn(LN x); x += mlp(LN x), eps 1e-6: the block of V-JEPA 2's encoder and predictor."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = RopeAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Perceptron(width, hidden)

    def forward(
        self,
        tokens: Tensor,
        rotation: Rotation,
        memory: KVCache | None = None,
        layer: int = 0,
        newest_only: bool = False,
    ) -> Tensor:
        """As RopeAttention.forward."""
        attended = self.attn(self.norm1(tokens), rotation, memory, layer, newest_only)
        if newest_only and memory is not None:
            tokens = tokens[:, -memory.tokens :]
        tokens = tokens + attended
        out: Tensor = tokens + self.mlp(self.norm2(tokens))
        return out
