"""Keeps from the planner what is no picture of the present: stale, repeated, misshapen or not finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

FAULTS = ("missing", "shape", "non_finite", "clock", "stale", "repeated")
"""What can be wrong with an observation, by the name it is counted under.

missing: there is none, or a camera or the robot's state is not in it; shape: of another shape or type than the goal's
frame or the robot's first state; non_finite: the robot's state is not finite; clock: captured in the future, or at no
time; stale: too old, or older than one before; repeated: the same picture for too long while the robot moves.
"""
AHEAD = 0.005  # seconds that a capture may lie in the future
SAME_TIME = 1e-6  # seconds between two captures that are one


class ObservationGuard:
    """Judges the observations of one robot, one a control tick.

    Args:
        max_age: seconds.
        max_repeats: control ticks with the same picture while the robot moves.
        needs_proprio: whether an observation without the robot's state is of no use.
    """

    def __init__(self, max_age: float, max_repeats: int, needs_proprio: bool = False) -> None:
        self.max_age, self.max_repeats, self.needs_proprio = max_age, max_repeats, needs_proprio
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.reset()

    def reset(self) -> None:
        """Begin again: the robot may have been put elsewhere."""
        self._newest = -math.inf
        self._proprio: tuple[int, ...] | None = None
        self._has_proprio: bool | None = None
        self._frames: dict[str, NDArray[Any]] = {}
        self._repeats = 0

    def expect(self, goal: Mapping[str, NDArray[Any]]) -> None:
        """Take the frames of a goal as the measure."""
        self.shapes = {name: np.shape(value) for name, value in goal.items() if name != "proprio"}

    def fault(self, observation: Mapping[str, Any] | None, captured_at: float, now: float, moves: bool) -> str | None:
        """What is wrong with it, one of FAULTS, or None.

        Args:
            captured_at, now: seconds of the same clock.
            moves: whether the robot was told to move since the tick before.
        """
        if observation is None or any(observation.get(name) is None for name in self.shapes):
            return "missing"
        is_new = captured_at > self._newest + SAME_TIME  # a camera slower than the control ticks is no frozen one
        wrong = self._misshapen(observation) or self._untimely(captured_at, now)
        if wrong is None and self._repeated(observation, moves and is_new):
            return "repeated"
        return wrong

    def _misshapen(self, observation: Mapping[str, Any]) -> str | None:
        for name, shape in self.shapes.items():
            frame = np.asarray(observation[name])
            if frame.shape != shape or frame.dtype != np.uint8:
                return "shape"
        given = observation.get("proprio")
        if given is None:
            return "missing" if self.needs_proprio or self._has_proprio else None
        try:
            proprio = np.asarray(given, np.float64)
        except (TypeError, ValueError):
            return "shape"
        if proprio.ndim != 1 or (self._proprio is not None and proprio.shape != self._proprio):
            return "shape"
        if not np.isfinite(proprio).all():
            return "non_finite"
        self._proprio, self._has_proprio = proprio.shape, True
        return None

    def _untimely(self, captured_at: float, now: float) -> str | None:
        if not math.isfinite(captured_at) or captured_at > now + AHEAD:
            return "clock"
        if captured_at < self._newest - SAME_TIME or now - captured_at > self.max_age:
            return "stale"
        self._newest = captured_at
        return None

    def _repeated(self, observation: Mapping[str, Any], moves: bool) -> bool:
        frames = {name: np.asarray(observation[name]) for name in self.shapes}
        if self._frames and all(np.array_equal(frames[name], self._frames[name]) for name in frames):
            self._repeats += int(moves)
        else:
            self._repeats = 0
            self._frames = {name: frame.copy() for name, frame in frames.items()}
        return self._repeats > self.max_repeats
