"""From observations to actions: history, receding-horizon planning, the real-time loop, the last gate before the robot.

What needs torch is loaded when it is first asked for, so that a robot's process can do without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wmplan.control.controller import Controller
    from wmplan.control.limits import Limits, LimitsGate, NonFiniteActionError
    from wmplan.control.preset import make_controller, planning_settings
    from wmplan.control.receding import RecedingHorizon, Schedule
    from wmplan.control.request import Backend, PlanReply, PlanRequest

_HOME = {
    "Backend": "request",
    "Controller": "controller",
    "Limits": "limits",
    "LimitsGate": "limits",
    "NonFiniteActionError": "limits",
    "PlanReply": "request",
    "PlanRequest": "request",
    "RecedingHorizon": "receding",
    "Schedule": "receding",
    "make_controller": "preset",
    "planning_settings": "preset",
}

__all__ = [
    "Backend",
    "Controller",
    "Limits",
    "LimitsGate",
    "NonFiniteActionError",
    "PlanReply",
    "PlanRequest",
    "RecedingHorizon",
    "Schedule",
    "make_controller",
    "planning_settings",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'wmplan.control' has no attribute {name!r}")
    return getattr(import_module(f"wmplan.control.{_HOME[name]}"), name)
