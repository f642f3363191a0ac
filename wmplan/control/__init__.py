"""From observations to actions: history, receding-horizon planning and the last gate before the robot."""

from wmplan.control.controller import Controller
from wmplan.control.limits import Limits, LimitsGate, NonFiniteActionError
from wmplan.control.preset import make_controller, planning_settings
from wmplan.control.receding import RecedingHorizon, Schedule

__all__ = [
    "Controller",
    "Limits",
    "LimitsGate",
    "NonFiniteActionError",
    "RecedingHorizon",
    "Schedule",
    "make_controller",
    "planning_settings",
]
