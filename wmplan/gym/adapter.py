"""A plain Gymnasium environment as wmplan.environment describes one: what it leaves out is filled in here.

All it needs is a box of finite actions and uint8 RGB frames, by render() or in its observations. Abilities of its own
stay what they are. Where its full state is found (wmplan.gym.state), any state can be started from and be made
the goal, and its dynamics can be simulated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from wmplan.deprecated import ENVIRONMENT, renamed_methods, with_new_methods
from wmplan.environment import Array, Observation, renders_any_size, require
from wmplan.errors import UserError
from wmplan.gym.frames import RENDER, check_frame, drawing, frame_source, picture, resized
from wmplan.gym.options import AdapterOptions, load_function
from wmplan.gym.state import LARGEST, FoundState, find_state, middle, restart_time_limit, time_limit
from wmplan.gym.task import BoxTask, JudgedTask, entries, entry, narrowed, reader

__all__ = ["AdaptedEnvironment", "adapt", "check_frame", "is_complete", "resized"]

COMPLETE = ("task", "control_rate", "image_size", "step_physics", "observe")
"""Members beyond Gymnasium's that every environment is used with; its render() takes a size, too."""
SUCCESS_FLAGS = ("success", "is_success")
"""Entries of `info` that say whether the environment counts the present state as success."""
DEFAULT_RATE = 10.0  # robot steps a second of an environment that does not say it


def adapt(
    env: gymnasium.Env[Any, Any], image_size: tuple[int, int] | None = None, options: AdapterOptions | None = None
) -> Any:
    """The environment itself where it is complete, else with what it lacks filled in.

    Args:
        env: made with render_mode "rgb_array".
        image_size: of the frames; None for what the environment gives.
        options: what the user says of it.

    Raises:
        UserError: if its actions or its frames cannot be used, or an option is not for it.
    """
    check_actions(env.action_space)
    with_new_methods(env.unwrapped)
    if is_complete(env.unwrapped):
        if options not in (None, AdapterOptions()):
            given = [name for name, value in vars(options).items() if value is not None]
            raise UserError(f"it says itself what env.{given[0]} would: leave that out")
        return env.unwrapped
    options = options or AdapterOptions()
    source = frame_source(env, options.pixels)
    draw, free = drawing(env)
    if callable(getattr(env.unwrapped, "set_goal", None)):  # states and goals are its own
        state, reason = None, ""
    elif source != RENDER:
        state, reason = None, "its frames are observations, which no restored state gives again: env.pixels=render"
    else:
        state, reason = find_state(env, lambda: draw(None), poses=options.reads_environment)
    kind: type[AdaptedEnvironment] = AdaptedEnvironment
    if state is not None:
        kind = StatefulEnvironment if hasattr(env.unwrapped, "goal_observation") else GoalSettingEnvironment
    return kind(env, image_size, options, source, draw, free, state, reason)


def is_complete(env: object) -> bool:
    """Whether the environment has all members that it is used with."""
    return all(hasattr(env, name) for name in COMPLETE) and renders_any_size(env)


def check_actions(space: object) -> None:
    """Raise a UserError unless the actions are one row of numbers within finite bounds."""
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise UserError(f"its actions must be a Box of one row of numbers, got {space}")
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise UserError(f"its actions must have finite bounds, got {space.low.tolist()} to {space.high.tolist()}")
    if space.dtype is None or not np.issubdtype(space.dtype, np.floating):
        raise UserError(f"its actions must be floats, got {space.dtype}")


@renamed_methods(ENVIRONMENT)
class AdaptedEnvironment:
    """A Gymnasium environment with what it lacks of wmplan.environment.Environment; the rest is its own.

    The success that it tells in `info` (`success` or `is_success`; or what env.success or its attribute `success_flag`
    names, one of these or "terminated") is kept as `succeeded`.

    Attributes:
        ended: whether the newest step ended the episode, by its time limit too.
        absent: why an ability is not there, by its name.
        most_steps: the time limit of its episodes, in robot steps; None for none.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        image_size: tuple[int, int] | None,
        options: AdapterOptions,
        source: str,
        draw: Callable[[tuple[int, int] | None], NDArray[np.uint8]],
        free: Callable[[], None],
        state: FoundState | None,
        reason: str,
    ) -> None:
        self.env, self.options = env, options
        self.action_space, self.observation_space = env.action_space, env.observation_space
        self.metadata, self.spec = env.metadata, env.spec
        self.absent = {"state": reason} if reason else {}
        self.most_steps = time_limit(env)
        self.ended = False
        self._success: bool | None = None
        self._observation: Any = None
        self._source, self._draw, self._free = source, draw, free
        self._state: Any = state
        rule = options.success if options.success and ":" in options.success else None
        flag = None if rule else options.success
        self._declared = flag or getattr(env.unwrapped, "success_flag", None)
        self._measure = reader(options.state, "env.state", env)
        own = options.proprio or ("proprio" if "proprio" in entries(env.observation_space) else None)
        self._proprio = None if own is None else reader(own, "env.proprio", env)
        self.reset(seed=0)
        self.step(middle(env.action_space))
        self.reset(seed=0)  # after a step that shows what is told of success
        self.task: Any = getattr(env.unwrapped, "task", None)
        if not hasattr(self.task, "action_low"):
            self.task = self._make_task(rule)
            if self.task.state_names and not hasattr(env.unwrapped, "task_state"):
                self.task_state = self._task_state
        self.control_rate = float(options.control_rate or getattr(env.unwrapped, "control_rate", None) or _rate(env))
        self.image_size = (0, 0)
        own_size = getattr(env.unwrapped, "image_size", None)
        self.image_size = tuple(image_size or own_size or self._frame(None).shape[:2])

    @property
    def unwrapped(self) -> Any:
        """Itself: it is used instead of the environment."""
        return self

    def __getattr__(self, name: str) -> Any:
        if name == "succeeded" and self.__dict__.get("_success") is not None:
            return self._success
        if name.startswith("_") or name == "env":
            raise AttributeError(name)
        return getattr(self.env.unwrapped, name)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._observation, info = self.env.reset(seed=seed, options=options)
        self.ended = False
        self._note(info, False)
        return self._observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        given = np.asarray(action, self.action_space.dtype)
        self._observation, reward, terminated, truncated, info = self.env.step(given)
        self.ended = bool(terminated or truncated)
        self._note(info, bool(terminated))
        return self._observation, reward, terminated, truncated, info

    def step_physics(self, action: Any) -> None:
        """One robot step; the observation that comes with it is kept for observe()."""
        if hasattr(self.env.unwrapped, "step_physics"):
            self.env.unwrapped.step_physics(action)
        else:
            self.step(action)

    def observe(self) -> Observation:
        """The present observation: the frame, and what the robot knows of itself."""
        if hasattr(self.env.unwrapped, "observe"):
            own: Observation = self.env.unwrapped.observe()
            return own
        return self._observed(self.image_size)

    def observe_proprio(self) -> NDArray[np.float32]:
        """What the robot knows of itself, (P,), for which no frame is drawn."""
        if hasattr(self.env.unwrapped, "observe"):
            return np.asarray(self.observe()["proprio"], np.float32)
        return self._own_state()

    def render(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """The frame, uint8 (H, W, 3), of image_size or of another size (H, W)."""
        return self._frame(size or self.image_size)

    def close(self) -> None:
        self._free()
        self.env.close()

    def _frame(self, size: tuple[int, int] | None) -> NDArray[np.uint8]:
        if self._source == RENDER:
            return self._draw(size)
        seen = picture(entry(self._observation, self._source))
        return seen if size is None else resized(seen, size)

    def _observed(self, size: tuple[int, int]) -> Observation:
        return {"pixels": self._frame(size), "proprio": self._own_state()}

    def _own_state(self) -> NDArray[np.float32]:
        proprio = np.zeros(0) if self._proprio is None else self._proprio(self._observation)
        return np.asarray(proprio, np.float32)

    def _task_state(self) -> Array:
        """The few true numbers that the task is about, (D,)."""
        return self._measure(self._observation)

    def _note(self, info: dict[str, Any], terminated: bool) -> None:
        """Keep what the environment says of success."""
        if self._declared == "terminated":
            self._success = terminated
            return
        for name in SUCCESS_FLAGS if self._declared is None else (self._declared,):
            if name in info:
                self._success = bool(info[name])
                return
        if self._success is not None:  # told at other steps
            self._success = False

    def _make_task(self, rule: str | None) -> BoxTask:
        space, options = self.action_space, self.options
        assert isinstance(space, gymnasium.spaces.Box)  # checked by adapt()
        if options.success and rule is None and self._success is None:
            raise UserError(f"env.success must be an entry of info or a function, MODULE:NAME, got {options.success!r}")
        names = self._names(options.state or "observation", self._measure)
        known = BoxTask(
            narrowed(space, options.action_low, "action_low"),
            narrowed(space, options.action_high, "action_high"),
            tuple(f"action_{index}" for index in range(space.shape[0])),
            () if self._proprio is None else self._names("proprio", self._proprio),
            names,
        )
        if rule is None:
            return known
        if not names:
            raise UserError("env.success is about numbers, and the observation has none: say env.state=MODULE:NAME")
        if not isinstance(self, GoalSettingEnvironment) and not hasattr(self.env.unwrapped, "goal"):
            why = self.absent.get("state", "it sets its own, and does not tell them as numbers")
            raise UserError(f"env.success={rule} compares states with a goal, and there is none: {why}")
        judge = load_function(rule, "env.success")
        return JudgedTask(**vars(known), rule=rule.rpartition(":")[2], judge=judge)

    def _names(self, of: str, read: Callable[[Any], Array]) -> tuple[str, ...]:
        name = of.rpartition(":")[2]
        return tuple(f"{name}_{index}" for index in range(len(read(self._observation))))


class StatefulEnvironment(AdaptedEnvironment):
    """With the full state that was found: it can be restored, and rollouts begin from it.

    A state holds the numbers of the newest observation, too, and whether the episode has ended. Pictures in it are not
    restored: frames are drawn.
    """

    def get_state(self) -> Array:
        """Full state (N,); replay from it is bit-exact."""
        flags = np.array([-1.0 if self._success is None else self._success, self.ended])
        return np.concatenate([flags, self._kept(), self._state.get()])

    def set_state(self, state: Array) -> None:
        """Restore a full state (N,).

        Raises:
            UserError: if it is another environment's.
        """
        state, size = np.asarray(state, np.float64), 2 + len(self._kept())
        if state.shape != (size + sum(self._state.sizes),):
            raise UserError(f"state must have {size + sum(self._state.sizes)} numbers, got {state.shape}")
        self._success, self.ended = (None if state[0] < 0 else bool(state[0])), bool(state[1])
        self._state.set(state[size:])
        kept, at = dict(self._observation) if isinstance(self._observation, dict) else {}, 2
        for name, space in self._numbers().items():
            end = at + gymnasium.spaces.flatdim(space)
            kept[name], at = gymnasium.spaces.unflatten(space, state[at:end]), end
        if isinstance(self._observation, dict):
            self._observation = kept
        elif kept:
            (self._observation,) = kept.values()

    def simulate(self, actions: Array) -> Array:
        """Task states (S, T, D) that action sequences (S, T, A) lead to from the present state, left as it is.

        One after the other, by the environment's own step(). What follows the end of an episode is its last state.
        """
        if hasattr(self.env.unwrapped, "simulate"):
            own: Array = self.env.unwrapped.simulate(actions)
            return own
        present, states = self.get_state(), []
        for sequence in np.asarray(actions, np.float64):
            self.set_state(present)
            for action in sequence:
                if not self.ended:
                    self.step(np.clip(action, self.task.action_low, self.task.action_high))
                states.append(self.task_state())
        self.set_state(present)
        return np.stack(states).reshape(*np.shape(actions)[:2], -1)

    def _numbers(self) -> dict[str, Any]:
        """The spaces of the entries of an observation that are no pictures."""
        parts = entries(self.observation_space)
        return {name: space for name, space in parts.items() if gymnasium.spaces.flatdim(space) <= LARGEST}

    def _kept(self) -> Array:
        """The newest observation as numbers, without its pictures."""
        flat = (
            np.asarray(gymnasium.spaces.flatten(space, entry(self._observation, name)), np.float64)
            for name, space in self._numbers().items()
        )
        return np.concatenate([np.empty(0), *flat])


class GoalSettingEnvironment(StatefulEnvironment):
    """One that sets no goals of its own: any state can be made the goal. Until then the goal is the start.

    reset() takes the options `state` and `goal_state`; an episode that is begun from a state has its whole time limit
    before it.
    """

    sets_goals = False

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.set_goal(self.get_state())

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        own = dict(options or {})
        state, goal, factors = (own.pop(name, None) for name in ("state", "goal_state", "variation"))
        if factors:
            require(self, "a variation", "variation")
        _, info = super().reset(seed=seed, options=own or None)
        if state is not None:
            self.set_state(state)
            restart_time_limit(self.env)
        if "task" in self.__dict__:  # not while it is made
            self.set_goal(self.get_state() if goal is None else goal)
        return self._observation, info

    def set_goal(self, state: Array) -> None:
        """Make the full state (N,) the goal; the physics stays where it is."""
        present = self.get_state()
        self.set_state(state)
        self.goal_state = np.array(state, np.float64)
        self.goal = self.task_state() if self.task.state_names else np.empty(0)
        self.set_state(present)

    def goal_observation(self, size: tuple[int, int] | None = None) -> Observation:
        """What camera and robot report at the goal: `pixels` (H, W, 3) and `proprio` (P,)."""
        present = self.get_state()
        self.set_state(self.goal_state)
        seen = self._observed(size or self.image_size)
        self.set_state(present)
        return seen


def _rate(env: gymnasium.Env[Any, Any]) -> float:
    """Robot steps a second, by what Gymnasium environments usually say it with."""
    step = getattr(env.unwrapped, "dt", None)
    return 1 / float(step) if step else float(env.metadata.get("render_fps") or DEFAULT_RATE)
