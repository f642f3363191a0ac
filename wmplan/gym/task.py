"""What is known of the task of a plain Gymnasium environment: by its spaces, and by functions of the user's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from wmplan.environment import Array
from wmplan.errors import UserError
from wmplan.gym.options import load_function
from wmplan.gym.state import LARGEST


@dataclass(frozen=True)
class BoxTask:
    """What a box of actions, the observations and the user tell of a task."""

    action_low: Array
    action_high: Array
    action_names: tuple[str, ...]
    proprio_names: tuple[str, ...] = ()
    state_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class JudgedTask(BoxTask):
    """With a rule of the user's, from task states and the goal's, (..., D), to whether or how far (...)."""

    rule: str = "success"
    judge: Callable[[Array, Array], Any] = np.array_equal

    def rules(self, state: Array, goal: Array) -> dict[str, NDArray[np.bool_]]:
        return {self.rule: self.distance(state, goal) <= 1}

    def distance(self, state: Array, goal: Array) -> Array:
        """What the rule measures; of one that says yes or no, 0 or 2."""
        said = np.asarray(self.judge(state, goal))
        if said.shape != np.broadcast_shapes(np.shape(state)[:-1], np.shape(goal)[:-1]):
            raise UserError(
                f"env.success: {self.rule}(state, goal) must give one value for states of any leading shape, for "
                f"{np.shape(state)} and {np.shape(goal)} it gave {said.shape}"
            )
        return np.where(said, 0.0, 2.0) if said.dtype == np.bool_ else said.astype(np.float64)

    def progress(self, start: Array, goal: Array) -> NDArray[np.bool_]:
        return ~self.rules(start, goal)[self.rule]


# ------------------------------------------------------------------ what observations hold


def entries(space: gymnasium.Space[Any]) -> dict[str, Any]:
    return dict(space.spaces) if isinstance(space, gymnasium.spaces.Dict) else {"observation": space}


def entry(observation: Any, name: str) -> Any:
    return observation[name] if isinstance(observation, dict) else observation


def _is_numbers(space: object) -> bool:
    """A row of numbers, few enough to be no picture."""
    return isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1 and space.shape[0] <= LARGEST


def reader(what: str | None, key: str, env: gymnasium.Env[Any, Any]) -> Any:
    """Reads numbers (D,) off the environment or its observation.

    Args:
        what: a function of the environment, MODULE:NAME; a key of the observations; None for all their numbers.

    Raises:
        UserError: if there is no such function or key.
    """
    if what is not None and ":" in what:
        function, inner = load_function(what, key), env.unwrapped

        def read(observation: Any) -> Array:
            found = np.asarray(function(inner), np.float64)
            if found.ndim != 1:
                raise UserError(f"{key}={what} must give a row of numbers, got the shape {found.shape}")
            return np.array(found)

        return read
    rows = [name for name, space in entries(env.observation_space).items() if _is_numbers(space)]
    if what is not None and what not in rows:
        there = ", ".join(rows) or "none here"
        raise UserError(f"{key} must be a row of numbers of the observations ({there}) or MODULE:NAME, got {what!r}")
    chosen = rows if what is None else [what]
    return lambda observation: np.concatenate(
        [np.empty(0), *(np.asarray(entry(observation, name), np.float64) for name in chosen)]
    )


def narrowed(space: gymnasium.spaces.Box, given: list[float] | None, name: str) -> Array:
    """A bound of the actions, that of the environment or the narrower one that is given."""
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    own = low if name == "action_low" else high
    if given is None:
        return own
    bound = np.asarray(given, np.float64)
    if bound.shape not in ((1,), own.shape) or not ((low <= bound) & (bound <= high)).all():
        within = f"within {low.tolist()} and {high.tolist()}"
        raise UserError(f"env.{name} must be a number or {len(own)} of them, {within}, got {given}")
    return np.broadcast_to(bound, own.shape).copy()
