"""What a task adds to its physics: controls, observations, start states, distance and success rules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # a task says what it is also where no simulator can be loaded, in training for example
    from wmplan.envs.environment import Environment
    from wmplan.envs.physics import Physics

Array = NDArray[np.float64]
Policy = Callable[[Array], Array]  # task state (D,) -> action (A,)


class Task(ABC):
    """A task over one MuJoCo model. Task states are the few numbers that rules and probes are about.

    Everything that takes task states takes any leading shape (..., D), so that whole batches of simulated
    trajectories are judged by the same code as one robot step.

    A task may offer more (see wmplan.environment): `exploration_policy(rng)`, a fresh scripted policy for an episode of
    data collection; `perturb(physics, speed, rng)`, which sets what the task moves going in a random direction, as a
    hand would, at `speed` (m/s or rad/s); and `robot_bodies`, the names of the bodies that are the robot, where a goal
    may be about all else.
    """

    xml: ClassVar[Path]
    camera: ClassVar[str]
    distractor_area: ClassVar[tuple[tuple[float, float], tuple[float, float]]] = ((-0.25, 0.25), (-0.25, 0.25))
    """((x low, x high), (y low, y high)) of the plane z = 0, in metres, where things may lie that are no part of it."""
    substeps: ClassVar[int]
    """Physics steps in one robot step."""
    state_names: ClassVar[tuple[str, ...]]
    """Names of the D entries of a task state, with the unit as suffix."""
    proprio_names: ClassVar[tuple[str, ...]] = ()
    proprio_low: ClassVar[Array] = np.empty(0)
    """Bounds that no proprioception passes, (P,), somewhat wider than the joints' limits, which are soft."""
    proprio_high: ClassVar[Array] = np.empty(0)
    action_names: ClassVar[tuple[str, ...]]
    action_low: ClassVar[Array]
    action_high: ClassVar[Array]
    incremental: ClassVar[bool] = False
    """Whether an action says by how much the command changes, and not what it is."""

    @classmethod
    def environment(cls, **options: Any) -> Environment:
        """The task as a Gymnasium environment; the options are those of Environment."""
        from wmplan.envs.environment import Environment

        return Environment(cls(), **options)

    @abstractmethod
    def controls(self, ctrl: Array, actions: Array) -> Array:
        """Actuator commands (..., T, nu) of the actions (..., T, A), the last command having been `ctrl` (nu,)."""

    @abstractmethod
    def task_state(self, qpos: Array) -> Array:
        """Task states (..., D) from joint positions (..., nq)."""

    def proprio(self, task_state: Array) -> Array:
        """What the robot knows of itself without a camera, (..., P), from task states (..., D); nothing, P = 0."""
        return task_state[..., :0]

    @abstractmethod
    def place_random(self, physics: Physics, rng: np.random.Generator) -> None:
        """Put the physics into a random start state, at rest."""

    @abstractmethod
    def rules(self, state: Array, goal: Array) -> dict[str, NDArray[np.bool_]]:
        """Success by each of the task's rules, the first being the one that counts; shapes (..., D) -> (...)."""

    @abstractmethod
    def distance(self, state: Array, goal: Array) -> Array:
        """Distance to the goal, (..., D) -> (...): about 1 where the first rule begins to hold, 0 at the goal."""

    def progress(self, start: Array, goal: Array) -> NDArray[np.bool_]:
        """Whether going from `start` to `goal` takes what the task is about, (..., D) -> (...); here: any way to go."""
        return ~next(iter(self.rules(start, goal).values()))


def wrap_angle(angle: Array) -> Array:
    """The same angles in [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi
