"""What all suites have in common: a task of theirs as wmplan.environment describes one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from wmplan.environment import Array, Policy
from wmplan.errors import UserError
from wmplan.suite_package import SuitePackage


class SuiteTask(ABC):
    """What is known of a suite's task without the suite. Task states are (..., D); see wmplan.environment.Judgement."""

    action_names: ClassVar[tuple[str, ...]]
    action_low: ClassVar[Array]
    action_high: ClassVar[Array]
    state_names: ClassVar[tuple[str, ...]]
    proprio_names: ClassVar[tuple[str, ...]]
    reported: ClassVar[tuple[str, ...]] = ()
    """Rules that are reported beside the others; an instance where one holds at the start is one all the same."""

    def proprio(self, task_state: Array) -> Array:
        """What the robot knows of itself, (..., P): the first entries of a task state."""
        return task_state[..., : len(self.proprio_names)]

    @abstractmethod
    def rules(self, state: Array, goal: Array) -> dict[str, NDArray[np.bool_]]:
        """Success by each rule, the first being the one that counts."""

    @abstractmethod
    def distance(self, state: Array, goal: Array) -> Array:
        """About 1 where the first rule begins to hold."""

    def may_be_goal(self, state: Array) -> NDArray[np.bool_]:
        """Whether a recorded state may be asked for, (..., D) -> (...): a picture has to show it."""
        return np.ones(state.shape[:-1], bool)

    def progress(self, start: Array, goal: Array) -> NDArray[np.bool_]:
        """Whether going from start to goal takes what the task is about: what its first rule is about has to move."""
        return ~next(iter(self.rules(start, goal).values()))


def checked_state(state: Array, size: int, of: str = "the suite") -> Array:
    """A full state (size,), as float64.

    Raises:
        UserError: if it has another size, being of another task, or of other versions of what `of` names; if it is no
            row of numbers, or holds some that are not finite.
    """
    try:
        state = np.asarray(state, np.float64)
    except (TypeError, ValueError):
        raise UserError(f"a full state is a row of {size} numbers, got {type(state).__name__}") from None
    if state.ndim != 1:
        raise UserError(f"a full state of this task has shape ({size},), the one given has {state.shape}")
    if state.shape != (size,):
        raise UserError(
            f"a full state of this task has {size} numbers, the one given has {state.size}: it is of another task, or "
            f"of other versions of {of}"
        )
    if not np.isfinite(state).all():
        raise UserError("state holds numbers that are not finite")
    return state


class SuiteEnvironment(gymnasium.Env[dict[str, NDArray[Any]], Array], ABC):
    """A suite's task with a full state, goal images, and policies to collect with.

    Observation: `pixels` uint8 (H, W, 3) and `proprio` float32 (P,). Action: float32 (A,), in the suite's units. The
    reward is minus the task's distance to the goal, not the suite's; an episode has no end of its own. `info` holds the
    task state, `success` as the suite itself counts it, and the task's `rules`. reset() takes the options `state` and
    `goal_state`, full states; without the latter the goal is the suite's own.

    Args:
        image_size: (height, width) of the observation in pixels, or one number for both.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    suite: ClassVar[SuitePackage]
    task: SuiteTask
    control_rate: float
    expert_steps: ClassVar[int] = 0
    """Robot steps in which the suite's expert succeeds, where it has one."""

    def __init__(self, image_size: int | Sequence[int] = 64, render_mode: str | None = "rgb_array") -> None:
        from wmplan.envs.environment import box, picture_size  # loads the simulator

        if render_mode not in (None, "rgb_array"):
            raise UserError(f"render_mode must be 'rgb_array' or None, got {render_mode!r}")
        self.render_mode, self.image_size = render_mode, picture_size(image_size)
        self.action_space = box(self.task.action_low, self.task.action_high)
        proprio = gymnasium.spaces.Box(-np.inf, np.inf, (len(self.task.proprio_names),), np.float32)
        pixels = gymnasium.spaces.Box(0, 255, (*self.image_size, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict({"pixels": pixels, "proprio": proprio})  # type: ignore[assignment]
        self._goal_state: Array | None = None
        self._goal = np.empty(0)

    @property
    def packages(self) -> tuple[str, ...]:
        """Distributions whose versions decide how it moves."""
        return self.suite.versions

    # ------------------------------------------------------------------ what a suite gives

    @abstractmethod
    def start(self, rng: np.random.Generator) -> None:
        """Put the suite into a start of its own, with a goal of its own."""

    @abstractmethod
    def advance(self, action: Array) -> None:
        """One robot step with an action within the bounds."""

    @abstractmethod
    def task_state(self) -> Array:
        """The few true numbers that the task is about, (D,)."""

    @property
    @abstractmethod
    def succeeded(self) -> bool:
        """Whether the suite itself counts the present state as success, by the goal of its own."""

    @abstractmethod
    def reach_own_goal(self) -> None:
        """Go where the suite's own goal is reached."""

    @abstractmethod
    def with_other_goal(self, state: Array) -> Array:
        """The full state (N,) with another goal of the suite's, and robot and objects as they are."""

    @abstractmethod
    def get_state(self) -> Array:
        """Full state (N,); replay from it is bit-exact."""

    @abstractmethod
    def set_state(self, state: Array) -> None:
        """Restore a full state (N,)."""

    @abstractmethod
    def render(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:  # type: ignore[override]
        """The camera's frame, uint8 (H, W, 3), of image_size or of another size (H, W)."""

    @abstractmethod
    def exploration_policy(self, rng: np.random.Generator) -> Policy:
        """A fresh policy for one episode, with contact, failures and play."""

    # ------------------------------------------------------------------ Gymnasium

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        super().reset(seed=seed)
        given = {name: value for name, value in (options or {}).items() if value is not None}
        if given.pop("variation", None):
            raise UserError("public suites have no variation: their worlds are the published ones")
        state, goal_state = given.pop("state", None), given.pop("goal_state", None)
        if given:
            raise UserError(f"reset has no option {next(iter(given))!r}; it has state and goal_state")
        if state is None:
            self.start(self.np_random)
        else:
            self.set_state(state)
        self._goal_state = None  # the suite's own, reached when it is asked for
        if goal_state is not None:
            self.set_goal(goal_state)
        return self.observe(), self._info()

    def step(self, action: Array) -> tuple[dict[str, NDArray[Any]], float, bool, bool, dict[str, Any]]:
        goal = self.goal  # before the step: the suite's own is reached from the start
        self.step_physics(action)
        info = self._info()
        return self.observe(), -float(self.task.distance(info["state"], goal)), False, False, info

    def step_physics(self, action: Array) -> None:
        """One robot step without a frame; what is beyond the bounds counts as the bound.

        Raises:
            UserError: if the action has the wrong shape or holds numbers that are not finite.
        """
        action = np.asarray(action, np.float64)
        if action.shape != self.action_space.shape:
            raise UserError(f"action has shape {action.shape}, this task's is {self.action_space.shape}")
        if not np.isfinite(action).all():
            raise UserError("action holds numbers that are not finite")
        self.advance(np.clip(action, self.task.action_low, self.task.action_high))

    def observe(self) -> dict[str, NDArray[Any]]:
        """The present observation."""
        return {"pixels": self.render(), "proprio": self.task.proprio(self.task_state()).astype(np.float32)}

    # ------------------------------------------------------------------ goals

    def set_goal(self, state: Array) -> None:
        """Make the full state (N,) the goal; the physics stays where it is."""
        present = self.get_state()
        self.set_state(state)
        self._goal_state, self._goal = np.array(state, np.float64), self.task_state()
        self.set_state(present)

    @property
    def goal_state(self) -> Array:
        """The goal as a full state (N,)."""
        if self._goal_state is None:
            present = self.get_state()
            self.reach_own_goal()
            self._goal_state, self._goal = self.get_state(), self.task_state()
            self.set_state(present)
        return self._goal_state

    @property
    def goal(self) -> Array:
        """The goal as a task state (D,)."""
        _ = self.goal_state
        return self._goal

    def goal_observation(self, size: tuple[int, int] | None = None) -> dict[str, NDArray[Any]]:
        """What camera and robot would report at the goal: `pixels` (H, W, 3) and `proprio` (P,)."""
        goal, present = self.goal_state, self.get_state()
        self.set_state(goal)
        pixels = self.render(size)
        self.set_state(present)
        return {"pixels": pixels, "proprio": self.task.proprio(self._goal).astype(np.float32)}

    def simulate(self, actions: Array) -> Array:
        """Task states (S, T, D) that action sequences (S, T, A) lead to from the present state, left as it is.

        One after the other, by the suite's own steps: slow.
        """
        actions = np.asarray(actions, np.float64)
        if actions.ndim != 3 or 0 in actions.shape or actions.shape[2:] != self.action_space.shape:
            raise UserError(f"actions must have shape (S, T, {len(self.task.action_names)}), got {actions.shape}")
        present, states = self.get_state(), []
        for sequence in actions:
            self.set_state(present)
            for action in sequence:
                self.step_physics(action)
                states.append(self.task_state())
        self.set_state(present)
        return np.stack(states).reshape(*actions.shape[:2], -1)

    def _info(self) -> dict[str, Any]:
        state = self.task_state()
        info: dict[str, Any] = {"state": state, "success": self.succeeded}
        if self._goal_state is not None:
            info["rules"] = {name: bool(holds) for name, holds in self.task.rules(state, self._goal).items()}
        return info
