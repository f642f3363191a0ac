"""What to plan with, as plain settings: those given, then what the model's card recommends, then defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wmplan.deprecated import with_new_keys
from wmplan.errors import UserError
from wmplan.models.base import WorldModel
from wmplan.settings.groups import whole_choice

Choice = Mapping[str, Any] | str
"""Settings, or the name of a planner, an objective or a preset, as the command line takes it: planner=realtime."""

DEFAULT_PLANNER = {"name": "cem"}
DEFAULT_OBJECTIVE = {"latent": {"weight": 1.0, "kind": "l2", "steps": "last"}}


def planning_settings(
    model: WorldModel | None,
    planner: Choice | None = None,
    objective: Choice | None = None,
    schedule: Choice | None = None,
) -> dict[str, dict[str, Any]]:
    """`planner`, `objective` and `schedule` to plan with.

    Settings given come first, then those of the model's card (card["planning"]), then the package's defaults. A
    planner of another name than the card's starts from its own defaults. An objective is taken whole, from one source.

    Raises:
        UserError: at a name that there is not, or what is neither a name nor settings.
    """
    return card_settings({} if model is None else model.card, planner, objective, schedule)


def card_settings(
    card: Mapping[str, Any],
    planner: Choice | None = None,
    objective: Choice | None = None,
    schedule: Choice | None = None,
) -> dict[str, dict[str, Any]]:
    """planning_settings() of a model with that card."""
    card = dict(card.get("planning") or {})
    preset = {**DEFAULT_PLANNER, **(card.get("planner") or {})}
    wanted = {key: value for key, value in _given("planner", planner).items() if value is not None}
    if wanted.get("name", preset["name"]) != preset["name"]:
        preset = {}
    chosen = {key: value for key, value in with_new_keys(_given("schedule", schedule)).items() if value is not None}
    return {
        "planner": {**preset, **wanted},
        "objective": dict(_given("objective", objective) or card.get("objective") or DEFAULT_OBJECTIVE),
        "schedule": {**with_new_keys(card.get("schedule") or {}), **chosen},
    }


def _given(group: str, choice: Choice | None) -> Mapping[str, Any]:
    if isinstance(choice, str):
        return whole_choice(group, choice)
    if choice is not None and not isinstance(choice, Mapping):
        raise UserError(f"{group} must be a name or a mapping of settings, got {choice!r}")
    return choice or {}
