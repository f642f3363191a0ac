"""What makes a predicted future good, by name: objectives from configuration."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from wmplan.errors import UserError
from wmplan.planning.latent_model import ObjectiveModel
from wmplan.planning.objectives.combinations import SwitchByDistance, WeightedSum
from wmplan.planning.objectives.distances import (
    ActionPenalty,
    CriticDistance,
    LatentDistance,
    ProprioDistance,
    WorkspaceLimit,
)
from wmplan.planning.objectives.objective import Objective, ObjectiveFunction, as_objective
from wmplan.registry import OBJECTIVES, register_objective
from wmplan.settings.build import convert
from wmplan.settings.numbers import finite_number

__all__ = [
    "ActionPenalty",
    "CriticDistance",
    "LatentDistance",
    "Objective",
    "ProprioDistance",
    "SwitchByDistance",
    "WeightedSum",
    "WorkspaceLimit",
    "make_objective",
]


def make_objective(config: Mapping[str, Any], model: ObjectiveModel) -> Objective:
    """An objective as a weighted sum of the terms in `config`, each a mapping of its settings with `weight`.

    Terms: `latent` {kind, steps, whitened, visual_only, executed}, `proprio` {kind, steps, weight_by, seen, executed},
    `workspace` {low, high}, `critic` {steps, executed}, `action` {effort, change}, `native` {of an imported model's
    own}, and `switch` {threshold, near: {...}, far: {...}, measure: {...}}, whose parts are such configurations
    again; and those of plug-ins. A term of weight 0 is left out.

    Raises:
        ValueError: if a term or a setting is unknown, or the model lacks what it needs.
    """
    terms: list[tuple[float, Objective]] = []
    for name, given in convert(config, Mapping[str, Any], "objective").items():
        make = OBJECTIVES[name]
        settings = dict(convert(given, Mapping[str, Any] | None, f"objective.{name}") or {})
        _check_names(name, make, settings)
        weight = finite_number(settings.pop("weight", 1.0), f"objective.{name}.weight")
        if weight:
            try:
                terms.append((weight, as_objective(make(model, **settings))))
            except TypeError as error:
                raise UserError(f"objective {name}: {str(error).split('() ', 1)[-1]}") from error
    if not terms:
        raise UserError(f"the objective has no term with a weight; there are {', '.join(OBJECTIVES)}")
    return terms[0][1] if len(terms) == 1 and terms[0][0] == 1.0 else WeightedSum(terms)


def _check_names(name: str, make: Callable[..., Any], settings: Mapping[str, Any]) -> None:
    """Raise a UserError at a setting that the term does not have."""
    parameters = list(inspect.signature(make).parameters.values())[1:]  # the first is the model
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return
    known = ["weight", *(one.name for one in parameters)]
    for key in settings:
        if key not in known:
            raise UserError(f"objective {name} has no setting {key!r}; it has {', '.join(known)}")


@register_objective("latent")
def _latent(
    model: ObjectiveModel,
    *,
    kind: str = "l2",
    steps: str = "last",
    whitened: bool = False,
    visual_only: bool = False,
    executed: float = 0.0,
) -> Objective:
    """The distance between predicted and goal latents.

    Args:
        kind: "l2" (squared), "l1" (absolute) or "cosine".
        steps: predicted steps that count: "last", "sum", "min" or "discounted".
        whitened: in units of one-step changes of latents, by the model's whitening.
        visual_only: of the scene alone, without the robot's own state.
        executed: weight of the same distance after the actions that are executed before the next plan, beside that.
    """
    whitening: Tensor | None = None
    if whitened:
        whitening = model.whitening
        if whitening is None:
            raise UserError("objective latent: whitened is true, and the model has no whitening")
    size = model.spec.latent_shape[-1] - model.spec.proprio_dim if visual_only and model.spec.proprio_dim else None
    if whitening is not None and size is not None:
        raise UserError("objective latent: whitened and visual_only together are not defined, the whitening mixes both")
    return LatentDistance(kind, steps, whitening, size, finite_number(executed, "objective.latent.executed"))


@register_objective("proprio")
def _proprio(
    model: ObjectiveModel,
    *,
    kind: str = "l2",
    steps: str = "last",
    weight_by: tuple[float, ...] | None = None,
    seen: bool = False,
    executed: float = 0.0,
) -> Objective:
    """The distance between the predicted and the goal's robot state.

    Args:
        kind: "l2" (squared) or "l1" (absolute), which far from the goal asks for less, and at it for more.
        steps: predicted steps that count: "last", "sum", "min" or "discounted".
        weight_by: a weight for each number of the robot state; None for 1.
        seen: read the goal's off its picture, and the present one too, so that what is misread cancels.
        executed: weight of the same distance after the actions that are executed before the next plan, beside that.
    """
    if not model.spec.proprio_dim:
        raise UserError("objective proprio: the model has no proprioception in its latent")
    if seen and not model.reads_proprio:
        raise UserError("objective proprio: seen is true, and the model reads no robot state off its frames")
    weights = convert(weight_by, tuple[float, ...] | None, "objective.proprio.weight_by")
    beside = finite_number(executed, "objective.proprio.executed")
    read = model.read_proprio if seen else None
    return ProprioDistance(model.spec.proprio_dim, steps, weights, read, beside, kind)


@register_objective("workspace")
def _workspace(
    model: ObjectiveModel, *, low: tuple[float | None, ...], high: tuple[float | None, ...]
) -> WorkspaceLimit:
    """Where the robot is to stay: the square of how far beyond it is, at the plan's end and before the next plan.

    Args:
        low: the least that each number of the robot state may be, in its own units; null for no bound.
        high: the most.
    """
    units = model.proprio_units
    if units is None:
        raise UserError("objective workspace: the model's latents do not hold the robot's state")
    bounds = []
    for name, given, none in (("low", low, -math.inf), ("high", high, math.inf)):
        values = convert(given, tuple[float | None, ...], f"objective.workspace.{name}")
        if len(values) != len(units[0]):
            raise UserError(f"objective.workspace.{name} has {len(values)} entries, it has to have {len(units[0])}")
        bounds.append(torch.tensor([none if one is None else one for one in values]))
    if bool((bounds[0] >= bounds[1]).any()):
        raise UserError(f"objective.workspace.low must be below high, got {list(low)} and {list(high)}")
    mean, deviation = (one.cpu() for one in units)
    return WorkspaceLimit(*(tuple(((one - mean) / deviation).tolist()) for one in bounds))


@register_objective("critic")
def _critic(model: ObjectiveModel, *, steps: str = "last", executed: float = 0.0) -> Objective:
    """Model steps to the goal, as the model's critic sees them.

    Args:
        steps: predicted steps that count: "last", "sum", "min" or "discounted".
        executed: weight of the same after the actions that are executed before the next plan, beside that.
    """
    if model.critic is None:
        raise UserError("objective critic: the model was trained without a critic")
    return CriticDistance(model.critic, steps, finite_number(executed, "objective.critic.executed"))


@register_objective("action")
def _action(model: ObjectiveModel, *, effort: float = 1.0, change: float = 0.0) -> Objective:
    """What the actions themselves cost.

    Args:
        effort: weight of their size.
        change: weight of their change from one robot step to the next.
    """
    return ActionPenalty(model.spec.action_low, model.spec.action_high, effort, change)


@register_objective("native")
def _native(model: ObjectiveModel, **settings: Any) -> ObjectiveFunction:
    """The objective that an imported model brings, with its own settings."""
    own = model.native_objective(**settings)
    if own is None:
        raise UserError("objective native: the model brings no objective of its own")
    return own


@register_objective("switch")
def _switch(
    model: ObjectiveModel,
    *,
    threshold: float,
    near: Mapping[str, Any],
    far: Mapping[str, Any],
    measure: Mapping[str, Any] | None = None,
) -> Objective:
    """One objective near the goal and another far from it.

    Args:
        threshold: the measure below which it is near.
        near: terms that count there.
        far: terms that count elsewhere.
        measure: terms whose sum is the measure; None for `far`.
    """
    limit = finite_number(threshold, "objective.switch.threshold")
    by = None if measure is None else make_objective(measure, model)
    return SwitchByDistance(make_objective(near, model), make_objective(far, model), limit, by)
