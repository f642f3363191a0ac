"""Keeps from the robot what is no plan, whatever a planner replied, with work that is bounded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.control.realtime.telemetry import described
from wmplan.errors import UserError

LONGEST_PLAN = 10_000
"""Robot steps that a plan may have: ten seconds at 1000 Hz."""


@dataclass(frozen=True, eq=False)
class CheckedPlan:
    """A plan that may be followed.

    Attributes:
        actions: finite, (N, a), in memory of its own, N from 1 to LONGEST_PLAN.
        surprise: may be not a number, which is a surprise too; None where the planner does not tell it.
    """

    actions: NDArray[np.float32]
    surprise: float | None


class PlanRefusedError(UserError):
    """What is wrong with a reply, in words."""


def read_plan(reply: Any, width: int) -> CheckedPlan:
    """The plan in a reply, with actions of `width` numbers. It may take a while: hold no lock.

    Raises:
        PlanRefusedError: if there is none, whatever it is instead.
    """
    try:
        return _read(reply, width)
    except (PlanRefusedError, KeyboardInterrupt):
        raise
    except BaseException as error:  # an object of the planner's may raise anything
        raise PlanRefusedError(f"it cannot be read: {described(error)}") from error


def _read(reply: Any, width: int) -> CheckedPlan:
    missing = [name for name in ("actions", "cost") if not hasattr(reply, name)]
    if missing:
        raise PlanRefusedError(f"it must be a PlanReply, got a {type(reply).__name__} without {missing[0]}")
    actions, cost, surprise = (
        _table(reply.actions, width),
        _number("cost", reply.cost),
        getattr(reply, "surprise", None),
    )
    if not math.isfinite(cost):
        raise PlanRefusedError(f"its cost is {cost}: no candidate could be judged")
    return CheckedPlan(actions, None if surprise is None else _number("surprise", surprise))


def _table(given: Any, width: int) -> NDArray[np.float32]:
    """A copy of actions as float32 of shape (N, width). Nothing is converted before its size is known."""
    if isinstance(given, list | tuple):
        table = _rows(given, width)
    elif isinstance(getattr(given, "shape", None), tuple):  # an array or a tensor
        _check_shape(tuple(given.shape), width)
        if np.ma.is_masked(given):
            raise PlanRefusedError("its actions hold what is masked")
        table = np.asarray(given)
        _check_shape(table.shape, width)
        if table.dtype == object:
            table = _rows(table.tolist(), width)
        if table.dtype.kind not in "iuf":
            raise PlanRefusedError(f"its actions must be numbers, got {table.dtype}")
    else:
        raise PlanRefusedError(f"its actions must be an array (robot steps, {width}), got a {type(given).__name__}")
    with np.errstate(over="ignore", invalid="ignore"):
        own = np.array(table, np.float32)
    if not np.isfinite(own).all():
        raise PlanRefusedError("its actions hold what is not a finite number")
    return own


def _rows(given: Sequence[Any], width: int) -> NDArray[np.float64]:
    """A table from a list of rows."""
    is_row = [isinstance(row, list | tuple) or getattr(row, "ndim", 0) == 1 for row in given[: LONGEST_PLAN + 1]]
    lengths = [len(row) if yes else None for row, yes in zip(given, is_row, strict=False)]
    _check_shape((len(given), lengths[0]) if lengths and lengths[0] is not None else (len(given),), width)
    if uneven := [index for index, length in enumerate(lengths) if length != width]:
        found = lengths[uneven[0]]
        length = "no" if found is None else found
        raise PlanRefusedError(f"row {uneven[0]} of its actions has {length} numbers, it has to have {width}")
    return np.array([[_number("action", one) for one in row] for row in given], np.float64)


def _check_shape(shape: tuple[Any, ...], width: int) -> None:
    if len(shape) != 2 or shape[0] < 1 or shape[1] != width:
        raise PlanRefusedError(f"its actions must have shape (robot steps, {width}), got {shape}")
    if shape[0] > LONGEST_PLAN:
        raise PlanRefusedError(f"its actions are for {shape[0]} robot steps, a plan has at most {LONGEST_PLAN}")


def _number(name: str, value: Any) -> float:
    if isinstance(value, str | bytes | bytearray | complex | np.complexfloating) or getattr(value, "ndim", 0) != 0:
        raise PlanRefusedError(f"its {name} must be a number, got a {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except Exception as error:
        raise PlanRefusedError(f"its {name} must be a number, got a {type(value).__name__}") from error
