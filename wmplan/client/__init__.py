"""The robot's side of `wmplan serve`: a websocket client and its wire format, on numpy, msgpack and websockets alone.

This package is installed under two names: as wmplan.client with wmplan, and by itself as wmplan_client (see
clients/wmplan_client). So it imports its own modules relatively and nothing else of wmplan.
The names below are imported when they are first used: requests and replies need numpy alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import PolicyClient, PolicyError, PolicyRefused, PolicyUnavailable
    from .plan_request import Goal, PlanReply, PlanRequest
    from .wire import WireError, pack, unpack

__version__ = "0.1.0"

_HOME = {
    "Goal": "plan_request",
    "PlanReply": "plan_request",
    "PlanRequest": "plan_request",
    "PolicyClient": "client",
    "PolicyError": "client",
    "PolicyRefused": "client",
    "PolicyUnavailable": "client",
    "WireError": "wire",
    "pack": "wire",
    "unpack": "wire",
}

__all__ = [
    "Goal",
    "PlanReply",
    "PlanRequest",
    "PolicyClient",
    "PolicyError",
    "PolicyRefused",
    "PolicyUnavailable",
    "WireError",
    "pack",
    "unpack",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
