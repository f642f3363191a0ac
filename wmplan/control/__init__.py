"""From observations to actions: histories, the planning core, the loops over it, the last gate before the robot.

What needs torch is loaded when it is first asked for, so that a robot's process can do without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wmplan.lazy import export

if TYPE_CHECKING:
    from wmplan.client.goals import AnyGoal as AnyGoal
    from wmplan.client.goals import GoalImage as GoalImage
    from wmplan.client.goals import GoalSequence as GoalSequence
    from wmplan.client.goals import MaskedGoal as MaskedGoal
    from wmplan.client.goals import RobotStateGoal as RobotStateGoal
    from wmplan.control.backend import Backend as Backend
    from wmplan.control.backend import PlanReply as PlanReply
    from wmplan.control.backend import PlanRequest as PlanRequest
    from wmplan.control.controller import Controller as Controller
    from wmplan.control.histories import Observation as Observation
    from wmplan.control.histories import read_observation as read_observation
    from wmplan.control.make import make_controller as make_controller
    from wmplan.control.make import planning_settings as planning_settings
    from wmplan.control.planning_core import PlanningCore as PlanningCore
    from wmplan.control.planning_core import PlanningQuery as PlanningQuery
    from wmplan.control.planning_core import RobotPlan as RobotPlan
    from wmplan.control.realtime.config import RealtimeConfig as RealtimeConfig
    from wmplan.control.realtime.controller import RealtimeController as RealtimeController
    from wmplan.control.realtime.telemetry import Statistics as Statistics
    from wmplan.control.safety.limits import Limits as Limits
    from wmplan.control.safety.safety_filter import LimitsGate as LimitsGate
    from wmplan.control.safety.safety_filter import NonFiniteActionError as NonFiniteActionError
    from wmplan.control.safety.workspace import Workspace as Workspace
    from wmplan.control.schedule import Schedule as Schedule
    from wmplan.control.search_core import SearchCore as SearchCore
    from wmplan.control.session import PlanningSession as PlanningSession
    from wmplan.control.session import plan_batch as plan_batch

__all__ = export(
    __name__,
    {
        ".backend": "Backend PlanReply PlanRequest",
        ".controller": "Controller",
        ".histories": "Observation read_observation",
        ".make": "make_controller planning_settings",
        ".planning_core": "PlanningCore PlanningQuery RobotPlan",
        ".realtime.config": "RealtimeConfig",
        ".realtime.controller": "RealtimeController",
        ".realtime.telemetry": "Statistics",
        ".safety.limits": "Limits",
        ".safety.safety_filter": "LimitsGate NonFiniteActionError",
        ".safety.workspace": "Workspace",
        ".schedule": "Schedule",
        ".search_core": "SearchCore",
        ".session": "PlanningSession plan_batch",
        "wmplan.client.goals": "AnyGoal GoalImage GoalSequence MaskedGoal RobotStateGoal",
    },
)
