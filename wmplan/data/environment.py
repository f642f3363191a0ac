"""What the core uses of an environment, reached through gymnasium.make(id).unwrapped and never imported by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class PlanningTask(Protocol):
    """A task's names, bounds and judgement; task states have any leading shape, (..., D)."""

    @property
    def state_names(self) -> tuple[str, ...]: ...
    @property
    def proprio_names(self) -> tuple[str, ...]: ...
    @property
    def action_names(self) -> tuple[str, ...]: ...
    @property
    def action_low(self) -> Array: ...
    @property
    def action_high(self) -> Array: ...

    def proprio(self, task_state: Array) -> Array:
        """What the robot knows of itself without a camera, (..., P), from task states (..., D)."""

    def rules(self, state: Array, goal: Array) -> dict[str, NDArray[np.bool_]]:
        """Success by each rule, the first being the one that counts: (..., D) -> (...)."""

    def distance(self, state: Array, goal: Array) -> Array:
        """Distance to the goal, (..., D) -> (...): about 1 where the first rule begins to hold."""

    def progress(self, start: Array, goal: Array) -> NDArray[np.bool_]:
        """Whether going from start to goal takes what the task is about, (..., D) -> (...)."""


class PlanningVariation(Protocol):
    """The factors of variation of an environment."""

    @property
    def factors(self) -> dict[str, Any]:
        """Factors now in force, by name; empty where everything is nominal."""


@runtime_checkable
class PlanningEnvironment(Protocol):
    """An environment that can be collected from, planned in and evaluated.

    Observation: `pixels` uint8 (H, W, 3) and `proprio` float32 (P,). Action: float32 (A,), in the robot's units.
    """

    @property
    def task(self) -> PlanningTask: ...
    @property
    def variation(self) -> PlanningVariation: ...
    @property
    def control_rate(self) -> float: ...
    @property
    def image_size(self) -> tuple[int, int]: ...
    @property
    def goal(self) -> Array:
        """The goal as a task state (D,)."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Start an episode; options: `state`, `goal_state` (full states (N,)) and `variation`."""

    def step(self, action: Array) -> tuple[dict[str, NDArray[Any]], Any, bool, bool, dict[str, Any]]:
        """One robot step, with its observation."""

    def advance(self, action: Array) -> None:
        """One robot step without a picture."""

    def observe(self) -> dict[str, NDArray[Any]]:
        """The present observation."""

    def draw(self, size: tuple[int, int]) -> NDArray[np.uint8]:
        """The camera picture, uint8 (H, W, 3), at any size (H, W)."""

    def get_state(self) -> Array:
        """Full simulator state (N,); replay from it is bit-exact."""

    def set_state(self, state: Array) -> None:
        """Restore a full simulator state (N,)."""

    def task_state(self) -> Array:
        """The few numbers the task is about, (D,)."""

    def set_goal(self, state: Array) -> None:
        """Make the full state (N,) the goal; the physics stays where it is."""

    def goal_observation(self, size: tuple[int, int] | None = None) -> dict[str, NDArray[Any]]:
        """What camera and robot would report at the goal."""

    def exploration_policy(self, rng: np.random.Generator) -> Callable[[Array], Array]:
        """A fresh scripted policy for one episode of collection: task state (D,) -> action (A,)."""

    def simulate(self, actions: Array) -> Array:
        """Task states (S, T, D) that action sequences (S, T, A) lead to from the present state, left as it is."""

    def close(self) -> None:
        """Free the renderers."""
