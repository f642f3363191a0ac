"""Keeps from the planner what is no picture of the present: stale, repeated, misshapen or not finite."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.control.realtime.telemetry import described
from wmplan.errors import UserError

log = logging.getLogger(__name__)

FAULTS = ("missing", "shape", "non_finite", "clock", "stale", "repeated")
"""What can be wrong with an observation, by the name it is counted under.

missing: there is none, or a camera or the robot's state is not in it; shape: of another shape or type than the goal's
frame or the robot's first state, or not to be read at all; non_finite: the robot's state is not finite; clock: captured
in the future, or at no time; stale: too old, or older than one before; repeated: the same picture for too long while
the robot moves.
"""
AHEAD = 0.005  # seconds that a capture may lie in the future
SAME_TIME = 1e-6  # seconds between two captures that are one
LONG_AGO = 60.0  # seconds after which the wrong clock is likelier than a slow camera
LARGEST_STATE = 10_000  # numbers of a robot's state in a list
MOST_EXTRAS, LONGEST_EXTRA = 64, 10_000  # entries that no one asked for, and characters or numbers in one


class ObservationRefusedError(UserError):
    """What is wrong with an observation: the `fault`, one of FAULTS, and in words."""

    def __init__(self, fault: str, words: str) -> None:
        super().__init__(words)
        self.fault = fault


@dataclass(frozen=True, eq=False)
class Observed:
    """An observation that may be planned from; its arrays are still the caller's.

    Attributes:
        frames: by camera name, uint8 (H, W, 3), of every camera of the goal.
        proprio: the robot's state (P,), None where it is not told.
        captured_at: seconds.
        given: the whole of what was given.
    """

    frames: Mapping[str, NDArray[np.uint8]]
    proprio: NDArray[Any] | None
    captured_at: float
    given: Mapping[Any, Any]

    def copied(self) -> dict[str, NDArray[Any]]:
        """All of it in memory of its own; of entries that no one asked for, those that are plain arrays or numbers."""
        own: dict[str, NDArray[Any]] = {name: np.array(frame, order="C") for name, frame in self.frames.items()}
        if self.proprio is not None:
            own["proprio"] = np.array(self.proprio)
        return {**_extras(self.given, own), **own}


class ObservationGuard:
    """Judges the observations of one robot, one a control tick.

    Args:
        max_age: seconds.
        max_repeats: control ticks with the same picture while the robot moves.
        least_proprio: how many numbers the robot's state has to have; 0 if it need not be told.
    """

    def __init__(self, max_age: float, max_repeats: int, least_proprio: int = 0) -> None:
        self.max_age, self.max_repeats, self.least_proprio = max_age, max_repeats, least_proprio
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.reset()

    def reset(self) -> None:
        """Begin again: the robot may have been put elsewhere."""
        self._newest = -math.inf
        self._proprio: tuple[int, ...] | None = None
        self._frames: dict[str, NDArray[Any]] = {}
        self._repeats = 0

    def expect(self, goal: Mapping[str, NDArray[Any]]) -> None:
        """Take the frames of a goal as the measure; where it has none, those before, or the next observation's own."""
        shapes = {name: np.shape(value) for name, value in goal.items() if name != "proprio"}
        self.shapes = shapes or self.shapes

    def judge(self, observation: Any, captured_at: Any, now: float, moves: bool) -> Observed:
        """The observation, if it may be planned from. Its work is bounded, whatever it is given.

        Args:
            observation: frames by camera name and `proprio`; or one camera's frame.
            captured_at, now: seconds of the same clock.
            moves: whether the robot was told to move since the tick before.

        Raises:
            ObservationRefusedError: if not.
        """
        if observation is None:
            raise ObservationRefusedError("missing", "there is none")
        self.shapes = self.shapes or _shapes_of_frames(observation)
        given = observation if isinstance(observation, Mapping) else dict.fromkeys(list(self.shapes)[:1], observation)
        frames = {name: self._frame(given, name, shape) for name, shape in self.shapes.items()}
        proprio = self._state(given)
        at = self._time(captured_at, now)
        is_new = at > self._newest + SAME_TIME  # a camera slower than the control ticks is no frozen one
        self._newest = max(self._newest, at)
        self._check_repeated(frames, moves and is_new)
        return Observed(frames, proprio, at, given)

    def _frame(self, given: Mapping[Any, Any], name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        value, frame = _read(given, name, _array)
        if value is None:
            there = (
                f", only {', '.join(repr(key) for key in islice(given, 5))}" if type(given) is dict and given else ""
            )
            raise ObservationRefusedError("missing", f"it has no {name!r}{there}"[:200])
        if frame is None or frame.shape != shape or frame.dtype != np.uint8:
            found = f"a {type(value).__name__}" if frame is None else f"{frame.dtype} of shape {frame.shape}"
            words = f"{name!r} must be uint8 of shape {shape}, as in the goal, got {found}"
            raise ObservationRefusedError("shape", words)
        return frame

    def _state(self, given: Mapping[Any, Any]) -> NDArray[Any] | None:
        value, state = _read(given, "proprio", _numbers)
        if value is None:
            if self.least_proprio or self._proprio is not None:
                raise ObservationRefusedError("missing", "it has no 'proprio'")
            return None
        if state is None or state.ndim != 1:
            found = f"a {type(value).__name__}" if state is None else f"of shape {state.shape}"
            raise ObservationRefusedError("shape", f"'proprio' must be one row of numbers, got {found}")
        if self._proprio is not None and state.shape != self._proprio:
            raise ObservationRefusedError("shape", f"'proprio' has {len(state)} numbers, it had {self._proprio[0]}")
        if len(state) < self.least_proprio:
            least = self.least_proprio
            raise ObservationRefusedError("shape", f"'proprio' has {len(state)} numbers, the workspace reads {least}")
        if not np.isfinite(state).all():
            raise ObservationRefusedError("non_finite", "'proprio' is not finite")
        self._proprio = state.shape
        return state

    def _time(self, captured_at: Any, now: float) -> float:
        at = _seconds(captured_at)
        if at is None:
            found = f"{captured_at}" if isinstance(captured_at, float) else f"a {type(captured_at).__name__}"
            words = f"captured_at must be a time of the controller's clock, in seconds, got {found}"
            raise ObservationRefusedError("clock", words)
        if at > now + AHEAD:
            words = f"captured {at - now:.3g} s in the future: captured_at must be of the controller's own clock"
            raise ObservationRefusedError("clock", words)
        if now - at > self.max_age:
            hint = "; is captured_at of the controller's clock?" if now - at > LONG_AGO else ""
            raise ObservationRefusedError("stale", f"captured {now - at:.3g} s ago, max_age is {self.max_age:g}{hint}")
        if at < self._newest - SAME_TIME:
            raise ObservationRefusedError("stale", f"captured {self._newest - at:.3g} s before one that came earlier")
        return at

    def _check_repeated(self, frames: Mapping[str, NDArray[np.uint8]], moves: bool) -> None:
        same = self._frames.keys() == frames.keys() and bool(frames)  # another goal may have other cameras
        if same and all(np.array_equal(frame, self._frames[name]) for name, frame in frames.items()):
            self._repeats += int(moves)
        else:
            self._repeats = 0
            self._frames = {name: frame.copy() for name, frame in frames.items()}
        if self._repeats > self.max_repeats:
            words = f"the same picture for {self._repeats} ticks while the robot moves: is the camera frozen?"
            raise ObservationRefusedError("repeated", words)


# ------------------------------------------------------------------ reading what may be anything


def _shapes_of_frames(observation: Any) -> dict[str, tuple[int, ...]]:
    """What looks like cameras' frames in an observation, by name.

    Raises:
        ObservationRefusedError: if nothing does.
    """
    given = observation if isinstance(observation, Mapping) else {"pixels": observation}
    found: dict[str, tuple[int, ...]] = {}
    for name in islice(given, MOST_EXTRAS):
        _, frame = _read(given, name, _array)
        if isinstance(name, str) and frame is not None and frame.dtype == np.uint8 and frame.ndim == 3:
            found[name] = frame.shape
    if not found:
        raise ObservationRefusedError("missing", "it has no frame, uint8 of shape (H, W, 3)")
    return found


_WAYS = ("__array__", "__array_interface__", "__array_struct__")
"""How a type says that it holds an array."""
_NUMBERS = (bool, int, float, np.generic)


def _read(
    given: Mapping[Any, Any], name: str, reader: Callable[[Any], NDArray[Any] | None]
) -> tuple[Any, NDArray[Any] | None]:
    """An entry as it is, and as an array; None where there is none, or where it is none."""
    try:
        value = given.get(name)
        return value, None if value is None else reader(value)
    except Exception as error:  # of an object of the caller's
        raise ObservationRefusedError("shape", f"{name!r} cannot be read: {described(error)}") from error


def _array(value: Any) -> NDArray[Any] | None:
    """An array, tensor or picture as an array; None for anything else, which is not even looked into."""
    if type(value) is np.ndarray:
        return value
    if isinstance(value, memoryview) or any(hasattr(type(value), way) for way in _WAYS):
        return np.asarray(value)
    return None


def _numbers(value: Any) -> NDArray[Any] | None:
    """An array, or a list of numbers, as an array of numbers; None for anything else."""
    if isinstance(value, list | tuple):
        if len(value) > LARGEST_STATE or not all(
            isinstance(one, _NUMBERS) or getattr(one, "ndim", None) == 0 for one in value
        ):
            return None
        found: NDArray[Any] | None = np.asarray([float(one) for one in value])
    else:
        found = _array(value)
    return None if found is None or found.dtype.kind not in "biuf" else found


def _seconds(value: Any) -> float | None:
    """A time as a finite number; None for anything else."""
    try:
        if isinstance(value, bool | np.bool_ | str | bytes | bytearray | np.complexfloating):
            return None
        if getattr(value, "ndim", 0):
            return None
        seconds = float(value)
    except Exception:  # it is no number: the caller says so
        return None
    return seconds if math.isfinite(seconds) else None


def _extras(given: Mapping[Any, Any], known: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Copies of the entries beside those known that are plain arrays, numbers or text, without a look into others."""
    found: dict[str, NDArray[Any]] = {}
    try:
        if len(given) == len(known):
            return found
        for name, value in islice(given.items(), MOST_EXTRAS):
            if isinstance(name, str) and name not in known and (entry := _extra(value)) is not None:
                found[name] = entry
    except Exception as error:  # of an object of the caller's; no one asked for these entries
        log.debug("entries of an observation cannot be read: %s", described(error))
    return found


def _extra(value: Any) -> NDArray[Any] | None:
    if isinstance(value, list | tuple):
        entry = np.array(value) if len(value) <= LONGEST_EXTRA and all(isinstance(v, _NUMBERS) for v in value) else None
    elif isinstance(value, str | bytes):
        entry = np.array(value) if len(value) <= LONGEST_EXTRA else None
    else:
        entry = np.array(value) if isinstance(value, _NUMBERS) else _array(value)
        entry = None if entry is None else np.array(entry)
    return None if entry is None or entry.dtype.hasobject else entry
