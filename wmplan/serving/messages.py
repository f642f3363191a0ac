"""What a client may say, checked against what the model takes before any of it reaches a planner."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.client.goals import MAX_GOALS, AnyGoal, DeclaredGoal, GoalSequence, MaskedGoal, RobotStateGoal
from wmplan.control.backend import PlanRequest
from wmplan.errors import UserError
from wmplan.serving.quotes import short

MAX_EXECUTED = 1000  # robot steps
IGNORED = ("prompt",)  # what openpi's clients say to language-conditioned policies


class MessageError(UserError):
    """A message that was understood, but says something that does not fit the model."""


@dataclass(frozen=True)
class Shapes:
    """What the served model takes.

    Attributes:
        cameras: names of the frames.
        image_size: (height, width) of the frames.
        proprio_dim: numbers of robot state, 0 for none.
        action_dim: numbers in a robot step's action.
        plan_steps: robot steps in a plan.
    """

    cameras: tuple[str, ...]
    image_size: tuple[int, int]
    proprio_dim: int
    action_dim: int
    plan_steps: int


@dataclass(frozen=True, eq=False)
class Infer:
    """Plan from here; `goal` is the frame of a goal that came along, if one did."""

    request: PlanRequest
    goal: NDArray[np.uint8] | None


@dataclass(frozen=True, eq=False)
class SetGoal:
    """Head for another goal: frames by camera name and maybe proprio, or a declared goal."""

    goal: dict[str, NDArray[Any]] | DeclaredGoal


@dataclass(frozen=True)
class Reset:
    """Forget what was seen and done; random numbers begin with `seed`."""

    seed: int


@dataclass(frozen=True)
class AskStatistics:
    """Tell what this session was served with."""


Message = Infer | SetGoal | Reset | AskStatistics


def read_message(message: Any, shapes: Shapes) -> Message:
    """The message that an unpacked value stands for.

    Raises:
        MessageError: naming the key that is wrong and what would be right.
    """
    if not isinstance(message, dict) or not all(isinstance(key, str) for key in message):
        raise MessageError("a message must be a map with texts as keys")
    kind = message.get("wmplan")
    if "wmplan" not in message:
        return _infer(message, shapes)
    if kind == "set_goal":
        _no_others(message, ("wmplan", "goal"))
        return SetGoal(read_goal(message.get("goal"), shapes))
    if kind == "reset":
        _no_others(message, ("wmplan", "seed"))
        return Reset(_whole(message.get("seed", 0), "seed"))
    if kind == "statistics":
        _no_others(message, ("wmplan",))
        return AskStatistics()
    raise MessageError(f"wmplan must be set_goal, reset or statistics, got {short(kind)}")


def read_goal(
    goal: Any, shapes: Shapes, where: str = "goal: ", depth: int = 0
) -> dict[str, NDArray[Any]] | DeclaredGoal:
    """The goal of a set_goal message.

    Raises:
        MessageError: naming the key that is wrong and what would be right.
    """
    named = goal if isinstance(goal, dict) else {shapes.cameras[0]: goal}
    if not all(isinstance(key, str) for key in named):
        raise MessageError(f"{where}its keys must be texts")
    kind = named.get("kind")
    if "kind" not in named and set(named) != {"proprio"}:
        _no_others(named, (*shapes.cameras, "proprio"), where)
        return _observation(named, shapes, where)
    try:
        return _declared("robot_state" if "kind" not in named else kind, named, shapes, where, depth)
    except MessageError:
        raise
    except ValueError as error:
        raise MessageError(f"{where}{error}") from None


def _declared(kind: Any, goal: Mapping[str, Any], shapes: Shapes, where: str, depth: int) -> DeclaredGoal:
    if kind == "robot_state":
        _no_others(goal, ("kind", "proprio"), where)
        if not shapes.proprio_dim:
            raise MessageError(f"{where}it is a robot state, and the model takes none: send an image")
        return RobotStateGoal(_floats(goal.get("proprio"), f"{where}proprio", (shapes.proprio_dim,)))
    if kind == "masked":
        masks = [f"mask.{name}" for name in shapes.cameras]
        _no_others(goal, ("kind", *shapes.cameras, "proprio", *masks), where)
        seen = _observation(goal, shapes, where)
        inside = {name: goal[f"mask.{name}"] for name in shapes.cameras if goal.get(f"mask.{name}") is not None}
        for name, mask in inside.items():
            if not isinstance(mask, np.ndarray) or mask.shape != shapes.image_size or mask.dtype.kind not in "biu":
                wanted = f"an array of true and false of shape {shapes.image_size}"
                raise MessageError(f"{where}mask.{name} must be {wanted}, got {short(mask)}")
        if not inside:
            raise MessageError(f"{where}{masks[0]} is missing: where the image counts")
        return MaskedGoal({name: seen[name] for name in shapes.cameras}, inside, proprio=seen.get("proprio"))
    if kind in ("any", "sequence"):
        _no_others(goal, ("kind", "goals", "patience") if kind == "sequence" else ("kind", "goals"), where)
        if depth > 1:
            raise MessageError(f"{where}goals are nested more than two deep")
        goals = goal.get("goals")
        if not isinstance(goals, list) or len(goals) > MAX_GOALS:
            raise MessageError(f"{where}goals must be a list of 1 to {MAX_GOALS} goals, got {short(goals)}")
        each = [read_goal(one, shapes, f"{where}{index}: ", depth + 1) for index, one in enumerate(goals)]
        return AnyGoal(tuple(each)) if kind == "any" else GoalSequence(tuple(each), goal.get("patience"))
    raise MessageError(f"{where}kind must be masked, robot_state, sequence or any, got {short(kind)}")


def _infer(message: Mapping[str, Any], shapes: Shapes) -> Infer:
    own = ("executed", "committed", "deadline_ms", "epoch", "goal", *IGNORED)
    _no_others(message, (*shapes.cameras, "proprio", *own))
    goal = message.get("goal")
    if goal is not None:
        if len(shapes.cameras) > 1:
            raise MessageError(f"goal: the model sees {', '.join(shapes.cameras)}: send a set_goal message")
        goal = _frame(goal, shapes, "goal")
    deadline = message.get("deadline_ms")
    if deadline is not None:
        deadline = _number(deadline, "deadline_ms")
    request = PlanRequest(
        observation=_observation(message, shapes),
        executed=_steps(message.get("executed"), "executed", MAX_EXECUTED, shapes),
        committed=_steps(message.get("committed"), "committed", shapes.plan_steps - 1, shapes),
        deadline_ms=deadline,
        epoch=_whole(message.get("epoch", 0), "epoch"),
    )
    return Infer(request, goal)


def _no_others(message: Mapping[Any, Any], known: tuple[str, ...], where: str = "") -> None:
    for key in message:
        if key not in known:
            raise MessageError(f"{where}there is no key {short(key)}; known are {', '.join(known)}")


def _observation(message: Mapping[str, Any], shapes: Shapes, where: str = "") -> dict[str, NDArray[Any]]:
    """The frames, and the robot's state where it is there and the model takes it."""
    found: dict[str, NDArray[Any]] = {}
    for name in shapes.cameras:
        if message.get(name) is None:
            raise MessageError(f"{where}{name} is missing: the camera's frame")
        found[name] = _frame(message[name], shapes, f"{where}{name}")
    proprio = message.get("proprio")
    if proprio is not None and shapes.proprio_dim:
        found["proprio"] = _floats(proprio, f"{where}proprio", (shapes.proprio_dim,))
    return found


def _frame(value: Any, shapes: Shapes, name: str) -> NDArray[np.uint8]:
    wanted = (*shapes.image_size, 3)
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.shape != wanted:
        raise MessageError(f"{name} must be a uint8 array of shape {wanted}, got {short(value)}")
    return value.copy()  # so that nothing else of the message stays in memory


def _floats(value: Any, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu" or value.shape != shape:
        raise MessageError(f"{name} must be an array of numbers of shape {shape}, got {short(value)}")
    with np.errstate(over="ignore"):
        table = value.astype(np.float32)
    if not np.isfinite(table).all():
        raise MessageError(f"{name} holds numbers that are not finite")
    return table


def _steps(value: Any, name: str, most: int, shapes: Shapes) -> NDArray[np.float32] | None:
    """Robot steps, (n, a) with n at most `most`."""
    if value is None:
        return None
    rows = len(value) if isinstance(value, np.ndarray) and value.ndim == 2 else 0
    if rows > most:
        raise MessageError(f"{name} holds {rows} robot steps, at most {most} are taken")
    return _floats(value, name, (rows, shapes.action_dim))


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise MessageError(f"{name} must be a number, got {short(value)}")
    number = float(value)
    if not 0 <= number < math.inf:
        raise MessageError(f"{name} must be at least 0 and finite, got {number}")
    return number


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < 2**63:
        raise MessageError(f"{name} must be a whole number from 0 to 2^63 - 1, got {short(value)}")
    return int(value)
