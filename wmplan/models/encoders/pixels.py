"""Of uint8 frames: what the first layer of an encoder takes, and where two of them differ."""

from __future__ import annotations

import torch
from torch import Tensor

from wmplan.errors import UserError

NOISE = 8
"""Levels of 255 by which a camera's pixels differ where nothing does."""


def require_divisible(image_size: tuple[int, int], by: int, option: str) -> None:
    """Raise a UserError if a side of the image is not a multiple of `by`, the value of `option`."""
    if by < 1 or image_size[0] % by or image_size[1] % by:
        height, width = image_size
        raise UserError(f"{option} is {by}, it has to divide both sides of the image, {height} x {width}")


def scale(frames: Tensor, dtype: torch.dtype) -> Tensor:
    """uint8 in [0, 255] to numbers in [-0.5, 0.5]."""
    return frames.to(dtype).div_(255.0).sub_(0.5)


def space_to_depth(frames: Tensor, factor: int) -> Tensor:
    """Every square of factor x factor pixels as one cell: (N, H, W, C) to (N, H/factor, W/factor, factor^2 C).

    As torch.nn.PixelUnshuffle, but on channels-last frames and of any type: on uint8 it moves a quarter of the bytes.
    """
    n, height, width, channels = frames.shape
    cells = frames.reshape(n, height // factor, factor, width // factor, factor, channels)
    return cells.permute(0, 1, 3, 2, 4, 5).reshape(n, height // factor, width // factor, factor * factor * channels)


def differ(one: Tensor, other: Tensor) -> Tensor:
    """Where two frames (..., H, W, 3) differ by more than a camera's noise, (..., H, W)."""
    return ((one.to(torch.int16) - other.to(torch.int16)).abs() > NOISE).any(-1)
