"""The box that a robot's Cartesian position stays in, for actions that are velocities or displacements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wmplan.errors import UserError
from wmplan.settings.build import convert_fields

Array = NDArray[np.float64]
LARGEST, SMALLEST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)


def check_finite(name: str, values: Sequence[float] | None) -> None:
    """See to it that values are finite, as float32 too.

    Raises:
        ValueError: that begins with the name.
    """
    if values is not None and not all(abs(value) <= LARGEST for value in values):
        raise UserError(f"{name} is {values}, every entry must be finite, and at most {LARGEST:.3g}")


@dataclass(frozen=True)
class Workspace:
    """A box of positions, d of them.

    Attributes:
        low, high: its corners, in the position's units, of length d; infinite where there is no wall.
        action: which numbers of the action move these positions.
        proprio: which numbers of the observation's `proprio` these positions are.
        gain: by how much a position changes in one robot step under an action of one: 1 for displacements, the length
            of a robot step in seconds for velocities.

    Raises:
        ValueError: naming the field that cannot be.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    action: tuple[int, ...]
    proprio: tuple[int, ...]
    gain: float

    def __post_init__(self) -> None:
        convert_fields(self, "workspace")
        if not self.low:
            raise UserError("workspace: low has no entry, it has to have one for each position")
        for name in ("high", "action", "proprio"):
            if len(getattr(self, name)) != len(self.low):
                raise UserError(f"workspace: {name} has {len(getattr(self, name))} entries, low has {len(self.low)}")
        if not all(low < high for low, high in zip(self.low, self.high, strict=True)):
            raise UserError(f"workspace: low {self.low} must be below high {self.high} in every dimension")
        for name in ("action", "proprio"):
            value = getattr(self, name)
            if min(value) < 0 or len(set(value)) != len(value):
                raise UserError(f"workspace: {name} must be different numbers of at least 0, got {value}")
        check_finite("workspace: gain", (self.gain,))
        if not self.gain >= SMALLEST:
            raise UserError(f"workspace: gain must be above zero, got {self.gain}")

    def positions(self, proprio: NDArray[np.floating]) -> Array:
        """The positions (B, d) in observed robot states (B, P)."""
        return np.asarray(proprio, np.float64)[:, list(self.proprio)]

    def moved(self, positions: Array, actions: NDArray[np.floating]) -> Array:
        """Where positions (B, d) are after actions (B, a)."""
        return positions + self.gain * np.asarray(actions, np.float64)[:, list(self.action)]

    def outside(self, positions: Array) -> Array:
        """How far positions (..., d) are out of the box, 0 within."""
        low, high = self._corners
        return np.maximum(np.maximum(low - positions, positions - high), 0.0)

    @cached_property
    def _corners(self) -> tuple[Array, Array]:
        return np.array(self.low, np.float64), np.array(self.high, np.float64)
