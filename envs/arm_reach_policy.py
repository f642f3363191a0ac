"""Scripted exploration for arm reach: smooth moves between random poses, with rests and noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

REST = 0.5  # probability of a rest after a move
FEW_JOINTS = 0.3  # probability that a move turns only some of the joints


class ReachExploration:
    """Drives the joint targets from the task state; one object an episode.

    Args:
        rng: the episode's generator.
        low: lower joint limits (6,), rad.
        high: upper joint limits (6,), rad.
        step: largest change of a joint target in one robot step, rad.
    """

    def __init__(self, rng: np.random.Generator, low: Array, high: Array, step: float) -> None:
        self.rng, self.low, self.high, self.step = rng, low, high, step
        self.change = np.zeros(6)
        self.noise = np.zeros(6)
        self.rest = 0
        self.command: Array | None = None  # (6,), where the joint targets stand: the joints follow them with some delay

    def begin_move(self, command: Array) -> None:
        """Choose the next pose to go to from `command`, the speed and how rough the way is."""
        rng = self.rng
        moved = np.ones(6, bool) if rng.random() >= FEW_JOINTS else rng.random(6) < 0.4
        self.goal = np.where(moved, rng.uniform(self.low, self.high), command)
        self.speed = self.step * rng.uniform(0.3, 1.0)
        self.roughness = self.step * rng.choice([0.05, 0.2, 0.5])

    def __call__(self, state: Array) -> Array:
        """Change of the joint targets (6,) in rad for the task state (9,)."""
        if self.command is None:
            self.command = state[:6].copy()
            self.begin_move(self.command)
        if self.rest > 0:
            self.rest -= 1
            return np.zeros(6)
        way = self.goal - self.command
        left = float(np.abs(way).max())
        # All joints arrive together; halving the difference to the last change makes starts and turns smooth.
        self.change = 0.5 * self.change + 0.5 * way * min(1.0, self.speed / max(left, 1e-9))
        self.noise = 0.7 * self.noise + self.rng.normal(0.0, self.roughness, 6)
        action = np.clip(self.change + self.noise, -self.step, self.step)
        self.command = np.clip(self.command + action, self.low, self.high)
        if left < 2 * self.step:
            self.begin_move(self.command)
            if self.rng.random() < REST:
                self.rest = int(self.rng.integers(3, 10))
        return action
