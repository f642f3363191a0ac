"""A controller from plain settings, what is left out being what the model was measured to plan best with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wmplan.control.controller import Controller
from wmplan.control.safety.limits import Limits
from wmplan.control.schedule import Schedule
from wmplan.models.base import WorldModel
from wmplan.planning.objectives.registry import make_objective
from wmplan.planning.planner import Planner
from wmplan.planning.registry import make_planner
from wmplan.settings.build import build

DEFAULT_PLANNER = {"name": "cem"}
DEFAULT_OBJECTIVE = {"latent": {"weight": 1.0, "kind": "l2", "steps": "last"}}


def planning_settings(
    model: WorldModel | None,
    planner: Mapping[str, Any] | None = None,
    objective: Mapping[str, Any] | None = None,
    schedule: Mapping[str, Any] | None = None,
) -> dict[str, dict[str, Any]]:
    """`planner`, `objective` and `schedule` to plan with.

    Settings given come first, then those of the model's card (card["planning"]), then the package's defaults. A
    planner of another name than the card's starts from its own defaults. An objective is taken whole, from one source.
    """
    return card_settings({} if model is None else model.card, planner, objective, schedule)


def card_settings(
    card: Mapping[str, Any],
    planner: Mapping[str, Any] | None = None,
    objective: Mapping[str, Any] | None = None,
    schedule: Mapping[str, Any] | None = None,
) -> dict[str, dict[str, Any]]:
    """planning_settings() of a model with that card."""
    card = dict(card.get("planning") or {})
    preset = {**DEFAULT_PLANNER, **(card.get("planner") or {})}
    wanted = {key: value for key, value in (planner or {}).items() if value is not None}
    if wanted.get("name", preset["name"]) != preset["name"]:
        preset = {}
    chosen = {key: value for key, value in (schedule or {}).items() if value is not None}
    return {
        "planner": {**preset, **wanted},
        "objective": dict(objective or card.get("objective") or DEFAULT_OBJECTIVE),
        "schedule": {**dict(card.get("schedule") or {}), **chosen},
    }


def planner_from(settings: Mapping[str, Any], model: WorldModel) -> Planner:
    """The planner of {"name": ..., setting: value} within the model's action bounds."""
    low, high = model.spec.block_bounds()
    options = {key: value for key, value in settings.items() if key != "name"}
    return make_planner(
        settings["name"], low, high, action_block=model.spec.action_block, device=model.device, **options
    )


def make_controller(
    model: WorldModel,
    planner: Mapping[str, Any] | None = None,
    objective: Mapping[str, Any] | None = None,
    schedule: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
) -> Controller:
    """A controller for `model`.

    Args:
        planner: {"name": "icem", "num_samples": 100, ...}; see planning_settings() for what is left out.
        objective: as make_objective() takes it.
        schedule: fields of Schedule: receding_horizon, arrive_in, min_horizon, correction.

    Raises:
        ValueError: naming the setting that is wrong.
    """
    settings = planning_settings(model, planner, objective, schedule)
    times = build(Schedule, settings["schedule"], "schedule")
    return Controller(
        model,
        planner_from(settings["planner"], model),
        make_objective(settings["objective"], model),
        limits,
        times.receding_horizon,
        arrive_in=times.arrive_in,
        min_horizon=times.min_horizon,
        correction=times.correction,
    )
