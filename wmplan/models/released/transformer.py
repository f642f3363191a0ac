"""The attention and feed-forward parts that LeWM and DINO-WM have in common, under the names of their releases.

Both begin with their own affine layer norm (eps 1e-5). Linear maps q, k, v have no bias, and heads x dim_head may
differ from the width. The Identity modules stand where the releases have dropout, so that the names count alike.
"""

from __future__ import annotations

from torch import Tensor, nn

from wmplan.models.linear import Linear, gelu
from wmplan.models.released.frame_causal import KVCache


class Attention(nn.Module):
    """Multi-head attention over the frames in a KVCache.

    Args:
        width: channels of a token.
        heads, dim_head: heads and channels of each; the scale is dim_head ** -0.5.
    """

    def __init__(self, width: int, heads: int, dim_head: int) -> None:
        super().__init__()
        self.heads, self.inner = heads, heads * dim_head
        self.norm = nn.LayerNorm(width)
        self.to_qkv = Linear(width, 3 * self.inner, bias=False)
        projected = not (heads == 1 and dim_head == width)
        self.to_out = nn.Sequential(Linear(self.inner, width), nn.Identity()) if projected else nn.Identity()

    def forward(self, tokens: Tensor, memory: KVCache, layer: int, newest_only: bool) -> Tensor:
        """Attention of tokens (n, f x M, width), or of the newest frame's M alone, to themselves and to `memory`."""
        tokens = self.norm(tokens)
        if newest_only and tokens.shape[1] > memory.tokens:
            queries = self.to_qkv(tokens[:, -memory.tokens :], slice(self.inner))
            keys, values = self.to_qkv(tokens, slice(self.inner, None)).chunk(2, dim=-1)
        else:
            queries, keys, values = self.to_qkv(tokens).chunk(3, dim=-1)
        # (n, tokens, inner) -> (n, heads, tokens, dim_head)
        q, k, v = (x.unflatten(2, (self.heads, -1)).transpose(1, 2) for x in (queries, keys, values))
        out: Tensor = self.to_out(memory.attend(layer, q, k, v).transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Module):
    """Layer norm, linear, exact GELU, linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.LayerNorm(width),
            Linear(width, hidden),
            nn.GELU(),
            nn.Identity(),
            Linear(hidden, width),
            nn.Identity(),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        norm, up, _, _, down, _ = self.net
        out: Tensor = down(gelu(up(norm(tokens))))
        return out
