"""From observations to actions: history, receding-horizon planning, the real-time loop, the last gate before the robot.

What needs torch is loaded when it is first asked for, so that a robot's process can do without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wmplan.control.controller import Controller
    from wmplan.control.gate import LimitsGate, NonFiniteActionError
    from wmplan.control.limits import Limits
    from wmplan.control.preset import make_controller, planning_settings
    from wmplan.control.realtime import RealtimeController
    from wmplan.control.realtime_config import RealtimeConfig
    from wmplan.control.receding import RecedingHorizon, Schedule
    from wmplan.control.request import Backend, PlanReply, PlanRequest
    from wmplan.control.session import PlanningSession, plan_batch
    from wmplan.control.statistics import Statistics
    from wmplan.control.workspace import Workspace

_HOME = {
    "Backend": "request",
    "Controller": "controller",
    "Limits": "limits",
    "LimitsGate": "gate",
    "NonFiniteActionError": "gate",
    "PlanReply": "request",
    "PlanRequest": "request",
    "PlanningSession": "session",
    "RealtimeConfig": "realtime_config",
    "RealtimeController": "realtime",
    "RecedingHorizon": "receding",
    "Schedule": "receding",
    "Statistics": "statistics",
    "Workspace": "workspace",
    "make_controller": "preset",
    "plan_batch": "session",
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
    "PlanningSession",
    "RealtimeConfig",
    "RealtimeController",
    "RecedingHorizon",
    "Schedule",
    "Statistics",
    "Workspace",
    "make_controller",
    "plan_batch",
    "planning_settings",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'wmplan.control' has no attribute {name!r}")
    return getattr(import_module(f"wmplan.control.{_HOME[name]}"), name)
