"""How fast an action may move: bounds, velocity and acceleration together, so that keeping one never breaks another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmplan.control.safety.limits import Limits

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
    """The actions of B robots last sent, and their last changes, both (B, a).

    An action that nobody knows is NaN: nothing was sent, and nothing measured it.
    """

    action: Array
    change: Array

    def next(self, action: Array) -> Motion:
        """After another action was sent."""
        return Motion(action, np.where(np.isnan(self.action), 0.0, action - self.action))


class Dynamics:
    """The motions that limits allow.

    Args:
        limits: of them bounds, rest, max_change and max_acceleration.
        columns: the numbers of the action that are looked at; None for all.

    Attributes:
        low, high: the bounds, as float32 has them.
        rest: the action of a robot at rest, of the numbers that are not held.
        held: those that stay what they were at rest, (a,).
    """

    def __init__(self, limits: Limits, columns: list[int] | None = None) -> None:
        def of(values: tuple[float, ...]) -> Array:
            vector = np.array(values, np.float64)
            return vector if columns is None else vector[columns]

        self.low, self.high = (of(bound).astype(np.float32).astype(np.float64) for bound in (limits.low, limits.high))
        self.rest = of(tuple(limits.rest_action().tolist()))
        self.held = limits.held if columns is None else limits.held[columns]
        self.change = None if limits.max_change is None else of(limits.max_change)
        self.acceleration = None if limits.max_acceleration is None else of(limits.max_acceleration)

    def reachable(self, motion: Motion, accelerating: bool = True) -> tuple[Array, Array]:
        """The smallest and largest next actions, (B, a) each; `accelerating` says whether max_acceleration counts.

        From an action that nobody knows no change can be told: only the bounds count.

        With max_acceleration the set is never empty once a robot started at rest: each change can be braked before
        the bound, and the change after it, smaller by max_acceleration, then can be too.
        """
        down, up = self.low - motion.action, self.high - motion.action
        if accelerating and self.acceleration is not None:
            up = np.minimum(fastest(up, self.acceleration), motion.change + self.acceleration)
            down = np.maximum(-fastest(-down, self.acceleration), motion.change - self.acceleration)
        if self.change is not None:
            up, down = np.minimum(up, self.change), np.maximum(down, -self.change)
        unknown = np.isnan(motion.action)
        low, high = motion.action + down, motion.action + up
        return np.where(unknown, self.low, low), np.where(unknown, self.high, high)

    def within_reach(self, wanted: Array, motion: Motion, accelerating: bool = True) -> Array:
        """The next actions (B, a) nearest to those wanted."""
        low, high = self.reachable(motion, accelerating)
        return np.minimum(np.maximum(wanted, low), high)

    def towards_rest(self, motion: Motion) -> Array:
        """The next action (B, a) of the fastest way to rest that does not overshoot it where that can be.

        A number that is held comes to rest where its changes do. NaN where nobody knows what it was.
        """
        away = self.rest - motion.action
        going_on = np.zeros(away.shape)
        if self.acceleration is not None:
            away = np.sign(away) * np.minimum(np.abs(away), fastest(np.abs(away), self.acceleration))
            going_on = np.sign(motion.change) * np.maximum(np.abs(motion.change) - self.acceleration, 0.0)
        wanted = motion.action + np.where(self.held, going_on, away)
        return np.where(np.isnan(motion.action), np.nan, self.within_reach(wanted, motion))

    def from_rest(self, motion: Motion) -> Array:
        """How far the robots are from rest, (B, a): what was sent, less rest, and of what is held the change."""
        return np.where(self.held, motion.change, motion.action - self.rest)
