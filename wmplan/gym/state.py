"""The full state of a Gymnasium environment, as the numbers that it holds, and a trial of whether these are all.

A state is what the environment's own get_state() gives; else, of a MuJoCo environment, mjSTATE_INTEGRATION (with mocap
and userdata) and those fields of the model that a reset changes; and the attributes of the environment and its wrappers
that are numbers, TimeLimit's counter among them. Nothing is pickled. What these numbers do not hold (a physics engine
of another kind, a generator of noise) shows in a replay, and there is no state then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray

from wmplan.environment import Array

LARGEST = 1000  # entries of an attribute that is taken for part of a state, and not for a picture
INFINITE = float(np.finfo(np.float64).max)  # stands for an infinity: data holds finite states only
UNKNOWN = float(np.nextafter(INFINITE, 0))  # for NaN
TRIAL_STEPS = 10  # robot steps replayed in the trial
MODEL_FIELDS = (
    *("body_pos", "body_quat", "body_mass", "geom_pos", "geom_quat", "geom_size", "geom_rgba", "geom_friction"),
    *("site_pos", "site_quat", "site_size", "site_rgba", "cam_pos", "cam_quat", "light_pos", "mat_rgba", "eq_data"),
    *("jnt_range", "dof_damping", "dof_frictionloss", "actuator_gainprm", "actuator_biasprm"),
)
"""Of an MjModel, what resets of public suites change: targets, sizes, looks, friction."""
POSES = (
    *("xpos", "xquat", "xmat", "xipos", "ximat", "geom_xpos", "geom_xmat", "site_xpos", "site_xmat"),
    *("subtree_com", "cvel", "sensordata"),
)
"""Of an MjData, what Python code may read before the next physics step; it is from before the last integration."""


class Part(Protocol):
    """A part of a state."""

    def get(self) -> Array:
        """Its numbers, always as many."""

    def set(self, values: Array) -> None:
        """Restore them."""


class FoundState:
    """The parts of a state behind one another."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self.sizes = [len(part.get()) for part in parts]

    def get(self) -> Array:
        return np.concatenate([part.get() for part in self.parts])

    def set(self, state: Array) -> None:
        for part, values in zip(self.parts, np.split(state, np.cumsum(self.sizes)[:-1]), strict=True):
            part.set(values)


def find_state(
    env: gymnasium.Env[Any, Any], frame: Callable[[], NDArray[np.uint8]], poses: bool = False
) -> tuple[FoundState | None, str]:
    """The environment's state, or None and why there is none.

    Args:
        env: with its wrappers.
        frame: draws the present.
        poses: whether more is read off MuJoCo's data than the environment's own steps read.
    """
    reason = "it holds no numbers"
    for parts in _candidates(env, poses):
        state = FoundState(parts)
        if not sum(state.sizes):
            continue
        try:
            fault = _fault(env, state, frame)
        except Exception as error:  # whatever the environment's own code raises
            fault = f"raises {type(error).__name__}: {error}"
        if fault is None:
            return state, ""
        reason = f"a replay from the numbers it holds {' '.join(fault.split())}"
    return None, reason


def _candidates(env: gymnasium.Env[Any, Any], poses: bool) -> Iterator[list[Part]]:
    """Parts that may be the state, the least first."""
    chain, inner = layers(env), env.unwrapped
    offers = all(callable(getattr(inner, name, None)) for name in ("get_state", "set_state"))
    steady, unsteady = _slots(env, chain)
    for slots in (steady, steady + unsteady) if unsteady else (steady,):
        numbers = Attributes(slots)
        if offers:
            yield [Offered(inner), Attributes([slot for slot in slots if slot[0] is not inner])]
        if not is_mujoco(inner):
            yield [numbers]
            continue
        for with_poses in (True,) if poses else (False, True):
            yield [Mujoco(env, with_poses), numbers]


def _fault(env: gymnasium.Env[Any, Any], state: FoundState, frame: Callable[[], NDArray[np.uint8]]) -> str | None:
    """What differs in a replay from the state, after an episode elsewhere; None where nothing does."""
    rng = np.random.default_rng(0)
    low, high = env.action_space.low, env.action_space.high  # type: ignore[attr-defined]  # a Box
    actions = rng.uniform(low, high, (TRIAL_STEPS + 3, *low.shape)).astype(low.dtype)

    def outcome(action: Any) -> tuple[Array, bool]:
        observation, _, terminated, truncated, _ = env.step(action)
        return _flat(env.observation_space, observation), bool(terminated or truncated)

    env.reset(seed=1)
    for action in actions[:3]:
        if outcome(action)[1]:
            return "could not be tried: an episode of random actions ends within 3 steps"
    saved, seen, recorded = state.get(), frame(), []
    for action in actions[3:]:
        recorded.append((*outcome(action), state.get()))
        if recorded[-1][1]:
            break
    env.reset(seed=2)
    outcome(actions[0])
    state.set(saved)
    if not np.array_equal(state.get(), saved, equal_nan=True):
        return "is not the same state when it is restored"
    if not np.array_equal(frame(), seen):
        return "shows another frame at its start"
    for step, (action, (observation, ended, after)) in enumerate(zip(actions[3:], recorded, strict=False), 1):
        now, ends = outcome(action)
        if not np.array_equal(now, observation, equal_nan=True) or ends != ended:
            return f"has another observation at step {step}"
        if not np.array_equal(state.get(), after, equal_nan=True):
            return f"has another state at step {step}"
    return None


def _flat(space: gymnasium.Space[Any], observation: Any) -> Array:
    return np.asarray(gymnasium.spaces.flatten(space, observation), np.float64)


def layers(env: gymnasium.Env[Any, Any]) -> list[Any]:
    """The wrappers from the outside in, and the environment itself."""
    chain: list[Any] = [env]
    while isinstance(chain[-1], gymnasium.Wrapper):
        chain.append(chain[-1].env)
    return chain


def time_limit(env: gymnasium.Env[Any, Any]) -> int | None:
    """The most robot steps of an episode, by its wrappers."""
    limits = [layer._max_episode_steps for layer in layers(env) if isinstance(layer, gymnasium.wrappers.TimeLimit)]
    return min(limits, default=None)


def restart_time_limit(env: gymnasium.Env[Any, Any]) -> None:
    """Give the episode under way its whole time limit."""
    for layer in layers(env):
        if isinstance(layer, gymnasium.wrappers.TimeLimit):
            setattr(layer, "_elapsed_steps", 0)  # noqa: B010  Gymnasium types it as None


# ------------------------------------------------------------------ the parts


class Offered:
    """What the environment's own get_state() and set_state() say."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def get(self) -> Array:
        return np.array(self.env.get_state(), np.float64).ravel()

    def set(self, values: Array) -> None:
        self.env.set_state(values)


Slot = tuple[Any, str, Any]
"""An attribute: its owner, its name, and a value of the type that it is restored as."""


def _slots(env: gymnasium.Env[Any, Any], owners: Sequence[Any]) -> tuple[list[Slot], list[Slot]]:
    """The attributes that are numbers, and those of them that two identical episodes give other values.

    The latter are clocks and counts over all episodes, and part of a state only where a replay needs them.
    """
    seen: dict[tuple[int, str], list[Any]] = {}

    def look() -> None:
        for index, owner in enumerate(owners):
            for name, value in vars(owner).items():
                if not name.startswith("_np_random"):
                    kept = value.copy() if isinstance(value, np.ndarray) else value  # it may be changed in place
                    seen.setdefault((index, name), []).append(kept)

    env.reset(seed=0)
    look()
    for _ in range(3):  # the first of the three is for what an episode leaves to the next
        env.reset(seed=1)
        look()
        for _ in range(2):
            env.step(middle(env.action_space))
            look()
    steady: list[Slot] = []
    unsteady: list[Slot] = []
    for (index, name), values in seen.items():
        if len(values) == 10 and _is_numeric(values):
            again = zip(values[4:7], values[7:], strict=True)
            slots = steady if all(_same(one, other) for one, other in again) else unsteady
            slots.append((owners[index], name, _like(values)))
    return steady, unsteady


def _same(one: Any, other: Any) -> bool:
    """Whether two values of a number that may be None are the same."""
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other, equal_nan=True)


class Attributes:
    """The attributes that are numbers or small arrays of them, or None at times, as TimeLimit's counter is.

    Each is written as whether it is there, and its numbers, finite ones: a record yet to be set may begin at infinity.
    """

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.slots = slots

    def get(self) -> Array:
        numbers: list[Array] = [np.empty(0)]
        for owner, name, like in self.slots:
            value = getattr(owner, name, None)
            present = value is not None
            numbers += [np.array([present], np.float64)]
            numbers += [np.asarray(value, np.float64).ravel() if present else np.zeros(np.size(like))]
        return np.nan_to_num(np.concatenate(numbers), nan=UNKNOWN, posinf=INFINITE, neginf=-INFINITE)

    def set(self, values: Array) -> None:
        values = np.where(np.abs(values) == INFINITE, np.copysign(np.inf, values), values)
        values = np.where(values == UNKNOWN, np.nan, values)
        at = 0
        for owner, name, like in self.slots:
            present, own = values[at], values[at + 1 : at + 1 + np.size(like)]
            at += 1 + np.size(like)
            setattr(owner, name, _restored(own, like) if present else None)


def _restored(values: Array, like: Any) -> Any:
    """The values (N,) in the type and shape of `like`; floats where that type cannot hold them, as of a later fraction.

    An array is one that nobody else holds.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        typed: NDArray[Any] = values.astype(np.asarray(like).dtype)
    exact = np.array_equal(typed, values, equal_nan=True)
    array = (typed if exact else values.copy()).reshape(np.shape(like))
    if isinstance(like, np.ndarray):
        return array
    return type(like)(array[()]) if exact else float(array)


def _is_numeric(values: Sequence[Any]) -> bool:
    there = [value for value in values if value is not None]
    numbers = all(isinstance(value, bool | int | float | np.number | np.bool_ | np.ndarray) for value in there)
    if not there or not numbers or len({np.shape(value) for value in there}) > 1:
        return False
    return np.asarray(there[0]).dtype.kind in "fiub" and np.size(there[0]) <= LARGEST


def _like(values: Sequence[Any]) -> Any:
    """A value of the type that all are restored as."""
    there = [value for value in values if value is not None]
    if isinstance(there[0], np.ndarray):
        return np.zeros(there[0].shape, np.result_type(*there))
    return there[0] if len({type(value) for value in there}) == 1 else float(there[0])


def middle(space: Any) -> Any:
    """The action nearest to zero."""
    return np.clip(np.zeros_like(space.low), space.low, space.high)


def is_mujoco(env: Any) -> bool:
    """Whether it has an MjModel and an MjData, as Gymnasium's MuJoCo environments have."""
    kinds = [type(getattr(env, name, None)) for name in ("model", "data")]
    return [(kind.__module__.partition(".")[0], kind.__name__) for kind in kinds] == [
        ("mujoco", "MjModel"),
        ("mujoco", "MjData"),
    ]


class Mujoco:
    """mjSTATE_INTEGRATION, what resets change of the model, and the poses that the last step left, where needed."""

    def __init__(self, env: gymnasium.Env[Any, Any], poses: bool) -> None:
        import mujoco

        inner: Any = env.unwrapped
        self.mujoco, self.spec = mujoco, mujoco.mjtState.mjSTATE_INTEGRATION
        self.env = inner  # its model and data may be made anew by a reset
        self.size = mujoco.mj_stateSize(inner.model, self.spec)
        before = {name: np.array(getattr(inner.model, name)) for name in MODEL_FIELDS}
        varied = set()
        for seed in (1, 2):
            env.reset(seed=seed)
            varied |= {name for name in MODEL_FIELDS if not np.array_equal(before[name], getattr(inner.model, name))}
        self.fields = tuple(name for name in MODEL_FIELDS if name in varied)
        self.poses = POSES if poses else ()

    def get(self) -> Array:
        state = np.empty(self.size)
        self.mujoco.mj_getState(self.env.model, self.env.data, state, self.spec)
        arrays = [*_arrays(self.env.model, self.fields), *_arrays(self.env.data, self.poses)]
        return np.concatenate([state, *(array.astype(np.float64).ravel() for array in arrays)])

    def set(self, values: Array) -> None:
        model, data = self.env.model, self.env.data
        state, rest = values[: self.size], values[self.size :]
        rest = _fill(_arrays(model, self.fields), rest)
        self.mujoco.mj_setState(model, data, state, self.spec)
        self.mujoco.mj_forward(model, data)
        self.mujoco.mj_setState(model, data, state, self.spec)  # the warm start, which mj_forward overwrites
        _fill(_arrays(data, self.poses), rest)


def _arrays(owner: Any, names: Sequence[str]) -> list[NDArray[Any]]:
    return [getattr(owner, name) for name in names]


def _fill(arrays: Sequence[NDArray[Any]], values: Array) -> Array:
    """Write the values into the arrays, in place; those that are left over."""
    for array in arrays:
        array[...] = values[: array.size].reshape(array.shape)
        values = values[array.size :]
    return values
