"""Planning once for a whole episode, as some published protocols do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from wmplan.control.planning_core import make_core
from wmplan.control.settings import Choice
from wmplan.errors import UserError
from wmplan.evaluation.worker import Setup
from wmplan.models.base import WorldModel
from wmplan.planning.registry import make_config


def planned_once(setup: Setup, model: WorldModel | None, schedule: Choice | None) -> Setup:
    """The setup with one plan that is as long as the budget, and is executed to its end.

    Args:
        schedule: that was asked for.

    Raises:
        UserError: if it asks for replanning.
    """
    budget = setup.protocol.steps
    asked = schedule.get("replan_every") if isinstance(schedule, Mapping) else None
    if asked not in (None, budget):
        raise UserError(
            f"protocol.open_loop plans once: schedule.replan_every must be left out or {budget}, got {asked}"
        )
    planner: dict[str, Any] = {**setup.planner, "horizon": math.ceil(budget / setup.action_block)}
    found = replace(
        setup,
        planner={"name": planner["name"], **asdict(make_config(**planner))},
        schedule={**setup.schedule, "replan_every": budget, "arrival_step": budget},
    )
    if model is not None:
        make_core(model, {"planner": found.planner, "objective": found.objective, "schedule": found.schedule})
    return found
