"""What never moves in the frames of a data set: lines, marks and lights that belong to the place."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from wmplan.data.reader import Reader

FRAMES = 300
NOTICEABLE = 16
"""Levels of 255 by which one colour of a pixel differs at least where something stands in front of the background."""


def find_background(store: Reader, camera: str) -> Tensor:
    """The median of frames from all over the data set, uint8 (H, W, 3).

    What moves has to leave every place in sight for more than half of the time.

    Args:
        camera: the column.
    """
    rng = np.random.default_rng(0)
    episodes = rng.choice(len(store.lengths), min(FRAMES, len(store.lengths)), replace=False)
    rows = [int(rng.integers(store.lengths[episode])) for episode in episodes]
    frames = [
        np.asarray(store.read(int(episode), camera, row, row + 1))[0]
        for episode, row in zip(episodes, rows, strict=True)
    ]
    return torch.from_numpy(np.median(np.stack(frames), axis=0).astype(np.uint8))


def stands_out(frames: Tensor, background: Tensor) -> Tensor:
    """Where uint8 frames (..., H, W, 3) show something else than the background: bool (..., H, W, 1)."""
    return (frames.short() - background.short()).abs().amax(-1, keepdim=True) >= NOTICEABLE
