"""Objectives made of others: a weighted sum, and a switch by distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wmplan import device
from wmplan.errors import UserError
from wmplan.planning.objectives.objective import Objective, ObjectiveFunction, as_objective


def start(objective: Objective | ObjectiveFunction, current: Tensor, goal: Tensor) -> Objective:
    """The objective of one plan that starts at the latents `current` (B, *latent)."""
    return as_objective(objective).for_start(current, goal)


@dataclass(frozen=True)
class Nothing(Objective):
    """No cost at all."""

    @property
    def last_only(self) -> bool:
        """No latent is read."""
        return True

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        return predicted.new_zeros(predicted.shape[:2])


@dataclass(frozen=True)
class WeightedSum(Objective):
    """Sum of weight times objective, over `terms`; plain functions may be among these."""

    terms: Sequence[tuple[float, Objective]]

    def __post_init__(self) -> None:
        if not self.terms:
            raise UserError("terms is empty, a weighted sum needs at least one objective")
        object.__setattr__(self, "terms", [(weight, as_objective(objective)) for weight, objective in self.terms])

    @property
    def last_only(self) -> bool:
        """Whether no term reads more than the last step."""
        return all(objective.last_only for _, objective in self.terms)

    @property
    def at_executed(self) -> Objective | None:
        """The sum of what the terms add."""
        added = [(weight, objective.at_executed) for weight, objective in self.terms]
        terms = [(weight, objective) for weight, objective in added if objective is not None]
        return WeightedSum(terms) if terms else None

    def for_start(self, current: Tensor, goal: Tensor) -> WeightedSum:
        """The same sum for one plan."""
        return WeightedSum([(weight, start(objective, current, goal)) for weight, objective in self.terms])

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        return torch.stack([weight * objective(predicted, goal, actions) for weight, objective in self.terms]).sum(0)


@dataclass(frozen=True)
class SwitchByDistance(Objective):
    """One objective near the goal and another far from it, chosen once a plan, for each environment.

    All candidates of a plan are judged by the same objective: costs of two could not be compared.

    Attributes:
        near, far: the objectives.
        threshold: `near` is used where `measure` of the present latent is below it.
        measure: the distance that decides; `far` if None.
    """

    near: Objective
    far: Objective
    threshold: float
    measure: Objective | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "near", as_objective(self.near))
        object.__setattr__(self, "far", as_objective(self.far))

    @property
    def last_only(self) -> bool:
        """Whether neither reads more than the last step."""
        return self.near.last_only and self.far.last_only

    def for_start(self, current: Tensor, goal: Tensor) -> Objective:
        """The objective of one plan."""
        here = current[:, None, None]  # (B, 1, 1, *latent): the present as a future of one step
        distance = (self.measure or self.far)(here, goal, here.new_zeros(len(here), 1, 1, 1))[:, 0]
        return _Switched(start(self.near, current, goal), start(self.far, current, goal), distance < self.threshold)

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        raise UserError("SwitchByDistance has to know where the plan starts: call what for_start(current, goal) gives")


@dataclass(frozen=True)
class _Switched(Objective):
    near: Objective
    far: Objective
    is_near: Tensor  # (B,)

    @property
    def last_only(self) -> bool:
        return self.near.last_only and self.far.last_only

    @property
    def at_executed(self) -> Objective | None:
        near, far = self.near.at_executed, self.far.at_executed
        if near is None and far is None:
            return None
        return _Switched(near or Nothing(), far or Nothing(), self.is_near)

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        if device.is_read_at_once(self.is_near):
            if bool(self.is_near.all()):
                return self.near(predicted, goal, actions)
            if not bool(self.is_near.any()):
                return self.far(predicted, goal, actions)
        near, far = self.near(predicted, goal, actions), self.far(predicted, goal, actions)
        return torch.where(self.is_near[:, None], near, far)
