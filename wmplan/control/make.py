"""A controller from plain settings, what is left out being what the model was measured to plan best with."""

from __future__ import annotations

from pathlib import Path

from wmplan.control.controller import Controller
from wmplan.control.planning_core import make_core
from wmplan.control.safety.limits import Limits
from wmplan.control.schedule import Schedule
from wmplan.control.settings import Choice, card_settings, planning_settings
from wmplan.models.base import WorldModel
from wmplan.settings.build import build

__all__ = ["card_settings", "make_controller", "planning_settings"]


def make_controller(
    model: WorldModel,
    planner: Choice | None = None,
    objective: Choice | None = None,
    schedule: Choice | None = None,
    limits: Limits | None = None,
    record: str | Path | None = None,
) -> Controller:
    """A controller for `model`.

    Args:
        planner: {"name": "icem", "num_samples": 100, ...}; see planning_settings() for what is left out. Or a name.
        objective: as make_objective() takes it, or a name.
        schedule: fields of Schedule: replan_every, arrival_step, min_horizon, correction, core.
        record: as Controller takes it.

    Raises:
        ValueError: naming the setting that is wrong.
    """
    settings = planning_settings(model, planner, objective, schedule)
    times = build(Schedule, settings["schedule"], "schedule")
    return Controller(
        model,
        make_core(model, settings),
        None,
        limits,
        times.replan_every,
        arrival_step=times.arrival_step,
        min_horizon=times.min_horizon,
        correction=times.correction,
        record=record,
    )
