"""From observations to actions: histories, the planning core, the loops over it, the last gate before the robot.

What needs torch is loaded when it is first asked for, so that a robot's process can do without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wmplan.control.backend import Backend, PlanReply, PlanRequest
    from wmplan.control.controller import Controller
    from wmplan.control.histories import Observation, read_observation
    from wmplan.control.make import make_controller, planning_settings
    from wmplan.control.planning_core import PlanningCore, PlanningQuery, RobotPlan
    from wmplan.control.realtime.config import RealtimeConfig
    from wmplan.control.realtime.controller import RealtimeController
    from wmplan.control.realtime.telemetry import Statistics
    from wmplan.control.safety.limits import Limits
    from wmplan.control.safety.safety_filter import LimitsGate, NonFiniteActionError
    from wmplan.control.safety.workspace import Workspace
    from wmplan.control.schedule import Schedule
    from wmplan.control.search_core import SearchCore
    from wmplan.control.session import PlanningSession, plan_batch

_HOME = {
    "Backend": "backend",
    "Controller": "controller",
    "Limits": "safety.limits",
    "LimitsGate": "safety.safety_filter",
    "NonFiniteActionError": "safety.safety_filter",
    "Observation": "histories",
    "PlanReply": "backend",
    "PlanRequest": "backend",
    "PlanningCore": "planning_core",
    "PlanningQuery": "planning_core",
    "PlanningSession": "session",
    "RealtimeConfig": "realtime.config",
    "RealtimeController": "realtime.controller",
    "RobotPlan": "planning_core",
    "Schedule": "schedule",
    "SearchCore": "search_core",
    "Statistics": "realtime.telemetry",
    "Workspace": "safety.workspace",
    "make_controller": "make",
    "plan_batch": "session",
    "planning_settings": "make",
    "read_observation": "histories",
}

__all__ = [
    "Backend",
    "Controller",
    "Limits",
    "LimitsGate",
    "NonFiniteActionError",
    "Observation",
    "PlanReply",
    "PlanRequest",
    "PlanningCore",
    "PlanningQuery",
    "PlanningSession",
    "RealtimeConfig",
    "RealtimeController",
    "RobotPlan",
    "Schedule",
    "SearchCore",
    "Statistics",
    "Workspace",
    "make_controller",
    "plan_batch",
    "planning_settings",
    "read_observation",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'wmplan.control' has no attribute {name!r}")
    return getattr(import_module(f"wmplan.control.{_HOME[name]}"), name)
