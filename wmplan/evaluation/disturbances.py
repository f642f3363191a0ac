"""What may happen to a robot that its model knows nothing of: a hand, a bumped or covered camera, a dead actuator."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from wmplan.data.environment import Array, PlanningEnvironment, PlanningVariation

COVERED = 18  # brightness of what a covered lens shows, of 255
NOISE = 2.0  # of that


class ChangingVariation(PlanningVariation, Protocol):
    """Factors that can be changed in the middle of an episode."""

    def apply(self, factors: dict[str, Any]) -> None:
        """Set the named factors, and make the others nominal."""


class DisturbedEnvironment(PlanningEnvironment, Protocol):
    """An environment in which all that can happen."""

    @property
    def variation(self) -> ChangingVariation: ...

    def knock(self, speed: float, rng: np.random.Generator) -> None:
        """Set what the task moves going in a random direction, at `speed`."""


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
        self.env.knock(self.speed, self.rng)


class CameraBumped(Disturbance):
    """The camera stands 5 cm elsewhere, in a random direction of its picture's plane."""

    name, distance = "camera bumped", 0.05

    def begin(self) -> None:
        angle = self.rng.uniform(-np.pi, np.pi)
        moved = self.distance * np.array([np.cos(angle), np.sin(angle), 0.0])
        before = np.asarray(self.env.variation.factors.get("camera_position_m", 0.0), np.float64)
        self.env.variation.apply({**self.env.variation.factors, "camera_position_m": moved + before})


class CameraCovered(Disturbance):
    """The camera shows darkness and its sensor's noise."""

    name = "camera covered"

    def seen(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.clip(self.rng.normal(COVERED, NOISE, frame.shape), 0, 255).astype(np.uint8)


class ActuatorFails(Disturbance):
    """One number of the action, at random, has no effect any more."""

    name = "actuator fails"

    def begin(self) -> None:
        self.dead = int(self.rng.integers(len(self.env.task.action_names)))

    def done(self, action: NDArray[np.float32]) -> Array:
        done = super().done(action)
        done[self.dead] = 0.0
        return done


DISTURBANCES: tuple[type[Disturbance], ...] = (BlockMoved, CameraBumped, CameraCovered, ActuatorFails)
