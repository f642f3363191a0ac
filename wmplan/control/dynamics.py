"""How fast an action may move: bounds, velocity and acceleration together, so that keeping one never breaks another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmplan.control.limits import Limits

Array = NDArray[np.float64]


def fastest(distance: Array, braking: Array) -> Array:
    """The largest first step v of a motion that can stop within `distance`, slowing by `braking` each step.

    It goes v + (v - b) + (v - 2 b) + ..., as long as the terms are positive. With n the whole number for which
    n (n + 1) / 2 <= distance / b < (n + 1) (n + 2) / 2, that is (n + 1) v - b n (n + 1) / 2.
    """
    room = np.maximum(distance, 0.0) / braking
    n = np.floor((np.sqrt(1 + 8 * room) - 1) / 2)
    return braking * (room + n * (n + 1) / 2) / (n + 1)


@dataclass(frozen=True)
class Motion:
    """The actions of B robots last sent, and their last changes, both (B, a)."""

    action: Array
    change: Array

    def next(self, action: Array) -> Motion:
        """After another action was sent."""
        return Motion(action, action - self.action)


def reachable(motion: Motion, limits: Limits, accelerating: bool = True) -> tuple[Array, Array]:
    """The smallest and largest next actions, (B, a) each; `accelerating` says whether max_acceleration counts.

    With max_acceleration the set is never empty once a robot started at rest: each change can be braked before the
    bound, and the change after it, smaller by max_acceleration, then can be too.
    """
    low, high = np.asarray(limits.low, np.float32), np.asarray(limits.high, np.float32)
    down, up = low - motion.action, high - motion.action
    if accelerating and limits.max_acceleration is not None:
        acceleration = np.asarray(limits.max_acceleration)
        up = np.minimum(fastest(up, acceleration), motion.change + acceleration)
        down = np.maximum(-fastest(-down, acceleration), motion.change - acceleration)
    if limits.max_change is not None:
        up, down = np.minimum(up, limits.max_change), np.maximum(down, -np.asarray(limits.max_change))
    return motion.action + down, motion.action + up


def towards_rest(motion: Motion, limits: Limits) -> Array:
    """The next action (B, a) of the fastest way to rest that does not overshoot it where that can be."""
    away = limits.rest_action() - motion.action
    if limits.max_acceleration is not None:
        away = np.sign(away) * np.minimum(np.abs(away), fastest(np.abs(away), np.asarray(limits.max_acceleration)))
    return np.clip(motion.action + away, *reachable(motion, limits))
