"""The robot's side of `wmplan serve`: a websocket client and its wire format, on numpy, msgpack and websockets alone.

This package is installed under two names: as wmplan.client with wmplan, and by itself as wmplan_client (see
clients/wmplan_client). So it imports its own modules relatively and nothing else of wmplan.
The names below are imported when they are first used: requests and replies need numpy alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import PolicyClient as PolicyClient
    from .client import PolicyError as PolicyError
    from .client import PolicyRefused as PolicyRefused
    from .client import PolicyUnavailable as PolicyUnavailable
    from .goals import AnyGoal as AnyGoal
    from .goals import GoalImage as GoalImage
    from .goals import GoalSequence as GoalSequence
    from .goals import MaskedGoal as MaskedGoal
    from .goals import RobotStateGoal as RobotStateGoal
    from .plan_request import Goal as Goal
    from .plan_request import PlanReply as PlanReply
    from .plan_request import PlanRequest as PlanRequest
    from .resting import resting_action as resting_action
    from .wire import WireError as WireError
    from .wire import pack as pack
    from .wire import unpack as unpack

__version__ = "0.1.0"

_NAMES = {
    "client": "PolicyClient PolicyError PolicyRefused PolicyUnavailable",
    "goals": "AnyGoal GoalImage GoalSequence MaskedGoal RobotStateGoal",
    "plan_request": "Goal PlanReply PlanRequest",
    "resting": "resting_action",
    "wire": "WireError pack unpack",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
