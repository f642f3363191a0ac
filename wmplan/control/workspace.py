"""The box that a robot's Cartesian position stays in, for actions that are velocities or displacements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmplan.settings.build import convert_fields

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Workspace:
    """A box of positions, d of them.

    Attributes:
        low, high: its corners, in the position's units, of length d.
        action: which numbers of the action move these positions.
        proprio: which numbers of the observation's `proprio` these positions are.
        gain: by how much a position changes in one robot step under an action of one: 1 for displacements, the length
            of a robot step in seconds for velocities.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    action: tuple[int, ...]
    proprio: tuple[int, ...]
    gain: float

    def __post_init__(self) -> None:
        convert_fields(self, "workspace")
        for name in ("high", "action", "proprio"):
            if len(getattr(self, name)) != len(self.low):
                raise ValueError(f"workspace: {name} has {len(getattr(self, name))} entries, low has {len(self.low)}")
        if not all(low < high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError(f"workspace: low {self.low} has to be below high {self.high} in every dimension")
        if min((*self.action, *self.proprio), default=0) < 0 or len(set(self.action)) != len(self.action):
            raise ValueError("workspace: action and proprio have to be different numbers of at least 0")
        if not self.gain > 0:
            raise ValueError(f"workspace: gain is {self.gain}, it has to be above zero")

    def positions(self, proprio: NDArray[np.floating]) -> Array:
        """The positions (B, d) in observed robot states (B, P)."""
        return np.asarray(proprio, np.float64)[:, list(self.proprio)]

    def moved(self, positions: Array, actions: NDArray[np.floating]) -> Array:
        """Where positions (B, d) are after actions (B, a)."""
        return positions + self.gain * np.asarray(actions, np.float64)[:, list(self.action)]

    def outside(self, positions: Array) -> Array:
        """How far positions (B, d) are out of the box, 0 within."""
        low, high = np.asarray(self.low), np.asarray(self.high)
        return np.maximum(np.maximum(low - positions, positions - high), 0.0)
