"""From observations to actions: history, receding-horizon planning, the real-time loop, the last gate before the robot.

What needs torch is loaded when it is first asked for, so that a robot's process can do without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wmplan.control.backend import Backend, PlanReply, PlanRequest
    from wmplan.control.controller import Controller
    from wmplan.control.make import make_controller, planning_settings
    from wmplan.control.realtime.config import RealtimeConfig
    from wmplan.control.realtime.controller import RealtimeController
    from wmplan.control.realtime.telemetry import Statistics
    from wmplan.control.safety.limits import Limits
    from wmplan.control.safety.safety_filter import LimitsGate, NonFiniteActionError
    from wmplan.control.safety.workspace import Workspace
    from wmplan.control.schedule import RecedingHorizon, Schedule
    from wmplan.control.session import PlanningSession, plan_batch

_HOME = {
    "Backend": "backend",
    "Controller": "controller",
    "Limits": "safety.limits",
    "LimitsGate": "safety.safety_filter",
    "NonFiniteActionError": "safety.safety_filter",
    "PlanReply": "backend",
    "PlanRequest": "backend",
    "PlanningSession": "session",
    "RealtimeConfig": "realtime.config",
    "RealtimeController": "realtime.controller",
    "RecedingHorizon": "schedule",
    "Schedule": "schedule",
    "Statistics": "realtime.telemetry",
    "Workspace": "safety.workspace",
    "make_controller": "make",
    "plan_batch": "session",
    "planning_settings": "make",
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
