"""Rotary position embedding over three axes: frame, row and column.

A head's channels are split over the axes: with axis width a = 2 * floor(floor(h / 3) / 2), channels [0, a) turn with
the frame index, [a, 2a) with the patch row, [2a, 3a) with the patch column, and the last h - 3a are left alone.
Neighbours (2k, 2k + 1) are a pair, which turns by the position times 10000 ** (-2k / a) (Su et al. 2021).

The released weights of V-JEPA 2 and JEPA-WM depend on a quirk: channel j of an axis has the frequency
10000 ** (-2 (j mod a/2) / a), so that the list of frequencies is repeated end to end, and the two members of a pair
turn by different angles. This is neither of the textbook forms.
"""

from __future__ import annotations

import torch
from torch import Tensor

BASE = 10000.0


class Rotation:
    """Cosines and sines for given positions.

    Args:
        positions: frame, row and column of every token, of shape (tokens, 3), or (n, tokens, 3) where each sequence has
            its own. An axis at 0 does not turn.
        head_dim: channels of a head.
        released: the form with the quirk.
    """

    def __init__(self, positions: Tensor, head_dim: int, *, released: bool = True) -> None:
        width = 2 * (head_dim // 3 // 2)
        index = torch.arange(width // 2, device=positions.device, dtype=torch.float32)
        frequencies = BASE ** (-2 * index / max(width, 1))
        frequencies = frequencies.repeat(2) if released else frequencies.repeat_interleave(2)  # (a,)
        angles = (positions.float()[..., None] * frequencies).flatten(-2)  # (..., tokens, 3, a) -> (..., tokens, 3a)
        angles = torch.nn.functional.pad(angles, (0, head_dim - 3 * width))  # an angle of 0 leaves a channel alone
        if angles.ndim == 3:
            angles = angles.unsqueeze(1)  # the same for all heads
        self.cosine, self.sine = angles.cos(), angles.sin()

    def __call__(self, vectors: Tensor) -> Tensor:
        """Queries or keys (n, heads, tokens, head_dim), turned; computed in float32 at least, given in their type."""
        wide = vectors.float() if vectors.dtype in (torch.float16, torch.bfloat16) else vectors
        even, odd = wide[..., 0::2], wide[..., 1::2]
        if wide.shape[-1] % 2:  # the unpaired last channel never turns
            even = even[..., :-1]
        swapped = torch.stack([-odd, even], dim=-1).flatten(-2)
        if wide.shape[-1] % 2:
            swapped = torch.cat([swapped, torch.zeros_like(wide[..., :1])], dim=-1)
        return (wide * self.cosine.to(wide.dtype) + swapped * self.sine.to(wide.dtype)).to(vectors.dtype)


def grid_positions(frames: range, rows: int, columns: int, lead: int = 0) -> Tensor:
    """Frame, row and column of every token of the frames: int64 (frames x (lead + rows x columns), 3).

    Args:
        frames: indices of the frames.
        rows, columns: patches, row-major.
        lead: tokens before the patches of each frame, which have no place in the grid (row and column 0).
    """
    patches = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
    places = torch.cat([torch.zeros(lead, 2, dtype=torch.int64), patches])  # (M, 2)
    index = torch.tensor(list(frames)).repeat_interleave(len(places))
    return torch.cat([index[:, None], places.repeat(len(frames), 1)], dim=1)
