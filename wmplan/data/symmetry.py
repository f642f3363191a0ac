"""Symmetries of a task: what becomes of frames, actions and proprioception in a copy that could be a recording."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wmplan.data.background import stands_out
from wmplan.data.meta import DataError

FRAMES: dict[str, Callable[[Tensor], Tensor]] = {  # of frames (..., H, W, 3)
    "same": lambda frames: frames,
    "flip_columns": lambda frames: frames.flip(-2),
    "flip_rows": lambda frames: frames.flip(-3),
    "half_turn": lambda frames: frames.flip(-3, -2),
    "quarter_turn": lambda frames: frames.transpose(-3, -2).flip(-3),  # counter-clockwise
    "three_quarter_turn": lambda frames: frames.transpose(-3, -2).flip(-2),
    "transpose": lambda frames: frames.transpose(-3, -2),
    "antitranspose": lambda frames: frames.transpose(-3, -2).flip(-3, -2),
}

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Symmetry:
    """One symmetry. It is exact where the copy of every trajectory is a trajectory, and is seen as the copied frames.

    Attributes:
        frames: what becomes of every frame: "same", or one of the seven other symmetries of the square.
        action: matrix (a, a) on one robot step's action, in the robot's units.
        proprio: matrix (P, P) on proprioception; empty where there is none.
        proprio_about: what the matrix leaves where it is, (P,), such as the middle of a table whose corner is the
            origin; empty for the origin.
        background: whether what never moves in the frames stays where it is, and only what stands out from it is
            copied: for a place with marks that a mirror would move.
    """

    frames: str
    action: Matrix
    proprio: Matrix = ()
    proprio_about: tuple[float, ...] = ()
    background: bool = False

    def __post_init__(self) -> None:
        if self.frames not in FRAMES:
            raise DataError(f"frames must be one of {', '.join(FRAMES)}, got {self.frames!r}")
        for name in ("action", "proprio"):
            matrix = getattr(self, name)
            if any(len(row) != len(matrix) for row in matrix):
                raise DataError(f"{name} must be a square matrix, got rows of {[len(row) for row in matrix]} numbers")
            if matrix and abs(np.linalg.det(np.array(matrix))) < 1e-6:
                raise DataError(f"{name} must be a matrix that can be undone, got {[list(row) for row in matrix]}")
        if self.proprio_about and len(self.proprio_about) != len(self.proprio):
            raise DataError(
                f"proprio_about must have {len(self.proprio)} numbers, one for each of proprio's rows, "
                f"got {len(self.proprio_about)}"
            )

    def check(self, name: str, action_dim: int, proprio_dim: int, image_size: tuple[int, int]) -> None:
        """Raise a DataError unless it fits the data, in which proprioception may be left out.

        Args:
            name: of the symmetry, for the message.
        """
        sizes = {"action": action_dim} | ({"proprio": proprio_dim} if proprio_dim else {})
        for what, size in sizes.items():
            if len(getattr(self, what)) != size:
                raise DataError(
                    f"symmetries.{name}.{what} must be a {size} x {size} matrix, got {len(getattr(self, what))} rows"
                )
        swaps = self.frames not in ("same", "flip_columns", "flip_rows", "half_turn")
        if swaps and image_size[0] != image_size[1]:
            raise DataError(f"symmetries.{name}.frames must keep the frames' shape, {image_size}, got {self.frames!r}")

    def map_frames(self, frames: Tensor, background: Tensor | None = None) -> Tensor:
        """Copies of frames (..., H, W, 3).

        Args:
            background: uint8 (H, W, 3), of these frames; counts where the symmetry leaves it in place.
        """
        copied = FRAMES[self.frames](frames)
        if not self.background or background is None:
            return copied
        return torch.where(FRAMES[self.frames](stands_out(frames, background)), copied, background)

    def map_actions(self, blocks: Tensor) -> Tensor:
        """Copies of blocks of actions (..., k * a), robot steps oldest first."""
        matrix = torch.tensor(self.action, dtype=blocks.dtype)
        return (blocks.unflatten(-1, (-1, len(matrix))) @ matrix.T).flatten(-2)

    def map_proprio(self, proprio: Tensor) -> Tensor:
        """Copies of proprioception (..., P)."""
        if not self.proprio:
            return proprio
        about = torch.tensor(self.proprio_about or 0.0, dtype=proprio.dtype)
        return about + (proprio - about) @ torch.tensor(self.proprio, dtype=proprio.dtype).T
