"""Constraints on plans beside their bounds: committed actions, rate limits, and soft and hard constraints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from wmplan.deprecated import renamed
from wmplan.errors import UserError

ActionFunction = Callable[[Tensor], Tensor]
"""From candidates (B, S, H, A) to numbers (B, S)."""
LatentFunction = Callable[[Tensor, Tensor], Tensor]
"""From predicted latents (B, S, H, *latent) and candidates (B, S, H, A) to numbers (B, S)."""


class Projection(Protocol):
    """Moves every candidate to one that is allowed, so that none is thrown away."""

    def project(self, actions: Tensor, action_dim: int) -> Tensor:
        """Candidates (B, S, H, A) that keep to the constraint, robot steps being of action_dim numbers."""
        ...


@dataclass(frozen=True)
class FrozenPrefix:
    """Actions already committed: every candidate begins with them, so that a plan is judged with what comes first.

    Attributes:
        actions: what each robot executes first, (B, K, action_dim).
        counts: how many of these K robot steps count, (B,) whole numbers from 0 to K.
    """

    actions: Tensor
    counts: Tensor

    def __post_init__(self) -> None:
        if self.actions.ndim != 3 or self.counts.shape != self.actions.shape[:1]:
            raise UserError(
                f"actions of shape {tuple(self.actions.shape)} and counts of shape {tuple(self.counts.shape)} have "
                "to be (B, K, action_dim) and (B,)"
            )
        if bool(((self.counts < 0) | (self.counts > self.actions.shape[1])).any()):
            raise UserError(f"counts must be from 0 to {self.actions.shape[1]}, got {self.counts.tolist()}")

    def project(self, actions: Tensor, action_dim: int) -> Tensor:
        """The candidates (B, S, H, A) with their first robot steps replaced."""
        batch, samples = actions.shape[:2]
        steps = actions.reshape(batch, samples, -1, action_dim)  # (B, S, robot steps, action_dim)
        length = min(self.actions.shape[1], steps.shape[2])
        first = self.actions[:, None, :length].to(steps).expand(-1, samples, -1, -1)
        is_frozen = torch.arange(length, device=steps.device) < self.counts.to(steps.device)[:, None]  # (B, length)
        head = torch.where(is_frozen[:, None, :, None], first, steps[:, :, :length])
        return torch.cat([head, steps[:, :, length:]], dim=2).reshape(actions.shape)


@dataclass(frozen=True)
class RateLimit:
    """Bounds the change of the action between robot steps by projecting every candidate onto what is allowed.

    Rejecting would throw nearly all candidates away. A step that changes too fast is moved to the nearest
    allowed action, from the first step on; inside box bounds it stays inside.

    Attributes:
        max_change: largest change in one robot step, in the action's units; one number or one a dimension.
        previous: the action executed last, of shape (action_dim,) or (B, action_dim); without it the first is free.
    """

    max_change: float | Sequence[float]
    previous: Tensor | None = None

    def __post_init__(self) -> None:
        change = torch.as_tensor(self.max_change, dtype=torch.float32)
        if not bool((change >= 0).all()):
            raise UserError(f"max_change must be at least 0, got {self.max_change}")

    def project(self, actions: Tensor, action_dim: int) -> Tensor:
        """The candidates (B, S, H, A) with every robot step within reach of the one before."""
        batch, samples = actions.shape[:2]
        change = torch.as_tensor(self.max_change, dtype=actions.dtype, device=actions.device)
        steps = actions.reshape(batch, samples, -1, action_dim).unbind(2)
        if self.previous is None:
            kept = [steps[0]]
        else:
            last = torch.as_tensor(self.previous, dtype=actions.dtype, device=actions.device)
            last = last.expand(batch, action_dim)[:, None]
            kept = [torch.minimum(torch.maximum(steps[0], last - change), last + change)]
        for step in steps[1:]:
            kept.append(torch.minimum(torch.maximum(step, kept[-1] - change), kept[-1] + change))
        return torch.stack(kept, dim=2).reshape(actions.shape)


@dataclass(frozen=True)
class SoftConstraint:
    """Adds weight x function to the cost.

    Attributes:
        function: of candidates (B, S, H, A), or of predicted latents (B, S, H, *latent) and candidates, to (B, S).
        weight: of the function in the cost.
        on: what the function reads. One of actions is given to plan(), one of latents to LatentCost.
    """

    function: ActionFunction | LatentFunction
    weight: float = 1.0
    on: Literal["actions", "latents"] = "actions"


@dataclass(frozen=True)
class HardConstraint:
    """Requires function <= 0: its value says by how much a candidate breaks it.

    A plan that breaks it is never returned while one that keeps it was seen; among plans that break it, those
    that break it less are preferred. A value that is not a number counts as broken. A gradient planner steps down
    the function's slope while it is broken, and the cost's otherwise (Polyak's switching method).

    Attributes:
        function, on: as of a SoftConstraint.
    """

    function: ActionFunction | LatentFunction
    on: Literal["actions", "latents"] = "actions"


Constraint = Projection | SoftConstraint | HardConstraint


def broken_by(value: Tensor, costs: Tensor) -> Tensor:
    """By how much hard constraints are broken, at least 0, in the type of the costs; what is no number breaks them."""
    return torch.nan_to_num(value.to(costs), nan=torch.inf).clamp(min=0)


def apply(
    constraints: Sequence[SoftConstraint | HardConstraint],
    costs: Tensor,
    *arguments: Tensor,
    violation: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Costs (B, S) with soft constraints added, and by how much hard ones are broken (B, S), None without any."""
    for constraint in constraints:
        value = constraint.function(*(argument.clone() for argument in arguments))  # it may write into them
        if value.shape != costs.shape:
            raise UserError(
                f"a constraint's function must give shape (B, S) = {tuple(costs.shape)}, got {tuple(value.shape)}"
            )
        if isinstance(constraint, SoftConstraint):
            costs = costs + constraint.weight * value
        else:
            broken = broken_by(value, costs)
            violation = broken if violation is None else violation + broken
    return costs, violation


__getattr__ = renamed(__name__, {"Penalty": f"{__name__}.SoftConstraint", "Rejection": f"{__name__}.HardConstraint"})
