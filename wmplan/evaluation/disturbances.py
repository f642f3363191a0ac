"""What may happen to a robot that its model knows nothing of: a hand, a bumped or covered camera, a dead actuator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wmplan.environment import Array, DisturbedEnvironment

COVERED = 18  # brightness of what a covered lens shows, of 255
NOISE = 2.0  # standard deviation of that


def covered_frame(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.uint8]:
    """What a covered camera shows: darkness and its sensor's noise, of shape (H, W, 3)."""
    return np.clip(rng.normal(COVERED, NOISE, shape), 0, 255).astype(np.uint8)


def bumped_camera(factors: Mapping[str, Any], offset: ArrayLike) -> dict[str, Any]:
    """Factors of variation with the camera `offset` (3,) metres from where they put it."""
    before = np.asarray(factors.get("camera_position_m", 0.0), np.float64)
    return {**factors, "camera_position_m": (before + np.asarray(offset, np.float64)).tolist()}


def with_dead_actuators(action: NDArray[Any], entries: Sequence[int]) -> NDArray[Any]:
    """The action (a,) with no effect of some of its entries."""
    done = action.copy()
    done[list(entries)] = 0.0
    return done


class Disturbance:
    """Nothing happens; what does happen, from one robot step on, is a subclass."""

    name: ClassVar[str] = "nothing"

    def __init__(self, env: DisturbedEnvironment, rng: np.random.Generator) -> None:
        self.env, self.rng = env, rng

    def begin(self) -> None:
        """It happens now."""

    def seen(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What the camera gives from now on where it looks at `frame`."""
        return frame

    def done(self, action: NDArray[np.float32]) -> Array:
        """What the robot does from now on where it is told `action`."""
        return action.astype(np.float64)


class BlockMoved(Disturbance):
    """A hand knocks what the task is about."""

    name, speed = "block moved by hand", 0.8

    def begin(self) -> None:
        self.env.perturb(self.speed, self.rng)


class CameraBumped(Disturbance):
    """The camera stands 5 cm elsewhere, in a random direction of its picture's plane."""

    name, distance = "camera bumped", 0.05

    def begin(self) -> None:
        angle = self.rng.uniform(-np.pi, np.pi)
        moved = self.distance * np.array([np.cos(angle), np.sin(angle), 0.0])
        self.env.variation.apply(bumped_camera(self.env.variation.factors, moved))


class CameraCovered(Disturbance):
    """The camera shows darkness and its sensor's noise."""

    name = "camera covered"

    def seen(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return covered_frame(frame.shape, self.rng)


class ActuatorFails(Disturbance):
    """One number of the action, at random, has no effect any more."""

    name = "actuator fails"

    def begin(self) -> None:
        self.dead = int(self.rng.integers(len(self.env.task.action_names)))

    def done(self, action: NDArray[np.float32]) -> Array:
        return with_dead_actuators(super().done(action), [self.dead])


DISTURBANCES: tuple[type[Disturbance], ...] = (BlockMoved, CameraBumped, CameraCovered, ActuatorFails)
