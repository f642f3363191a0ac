"""A strip before a camera: what a memory learns to see through, drawn over frames of any data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wmplan.random_streams import Stream, stream_rng

LEAST, MOST = 0.2, 0.5
"""Shares of an image's width or height that it covers."""


@dataclass(frozen=True)
class Strip:
    """Covers a part of an image from one side to the other, in one colour.

    Attributes:
        upright: whether it hides columns, or else rows.
        first, last: which of them, as shares of their number.
        colour: RGB from 0 to 255.
    """

    upright: bool
    first: float
    last: float
    colour: tuple[int, int, int]

    @classmethod
    def draw(cls, seed: int, episode: int) -> Strip:
        """That of an episode: of any width in LEAST to MOST, place and colour."""
        rng = stream_rng(seed, Stream.STRIP, episode)
        share = rng.uniform(LEAST, MOST)
        first = rng.uniform(0, 1 - share)
        red, green, blue = (int(one) for one in rng.integers(256, size=3))
        return cls(bool(rng.integers(2)), first, first + share, (red, green, blue))

    def before(self, frames: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The frames of each camera, uint8 (T, H, W, 3), behind it."""
        return {camera: self.over(seen) for camera, seen in frames.items()}

    def over(self, frames: Tensor) -> Tensor:
        """One camera's frames (T, H, W, 3) behind it."""
        hidden, axis = frames.clone(), 2 if self.upright else 1
        size = frames.shape[axis]
        first = int(np.floor(self.first * size))
        part = hidden.narrow(axis, first, max(1, int(np.ceil(self.last * size)) - first))
        part.copy_(torch.tensor(self.colour, dtype=torch.uint8).expand_as(part))
        return hidden
