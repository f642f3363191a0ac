"""What one search leaves for the next, and how it is carried through time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wmplan.errors import UserError


def shift_plan(actions: Tensor, steps: int, action_dim: int) -> Tensor:
    """A plan (..., H, A) as it stands `steps` robot steps later; the last robot step's action is held at the end."""
    *leading, horizon, block = actions.shape
    flat = actions.reshape(*leading, horizon * block // action_dim, action_dim)  # (..., robot steps, action_dim)
    rest = flat[..., min(steps, flat.shape[-2] - 1) :, :]
    held = rest[..., -1:, :].expand(*leading, flat.shape[-2] - rest.shape[-2], action_dim)
    return torch.cat([rest, held], dim=-2).reshape(actions.shape)


def fit_horizon(actions: Tensor, horizon: int, action_dim: int) -> Tensor:
    """A plan (..., H', A) cut to `horizon` model steps, or its last robot step's action held up to there."""
    *leading, given, block = actions.shape
    if given >= horizon:
        return actions[..., :horizon, :]
    held = actions[..., -1:, block - action_dim :].repeat(*[1] * len(leading), horizon - given, block // action_dim)
    return torch.cat([actions, held], dim=-2)


@dataclass(frozen=True)
class WarmStart:
    """What a search leaves for the next one of the same robots.

    Attributes:
        actions: the plan as it was searched, (B, H, A), before bounds and constraints cut what a spline overshoots;
            None before the first.
        elites: the last iteration's best candidates, best first, (B, E, H, A); None where the planner keeps none.
        clock: robot steps of absolute time at which the plan starts: the knots of splines stand at multiples.
    """

    actions: Tensor | None = None
    elites: Tensor | None = None
    clock: int = 0

    def shifted(self, steps: int, action_dim: int) -> WarmStart:
        """The same, `steps` robot steps later."""
        if steps == 0:
            return self
        actions, elites = (
            None if part is None else shift_plan(part, steps, action_dim) for part in (self.actions, self.elites)
        )
        return WarmStart(actions, elites, self.clock + steps)

    def fitted(self, horizon: int, action_dim: int) -> WarmStart:
        """The same, `horizon` model steps long."""
        actions, elites = (
            None if part is None else fit_horizon(part, horizon, action_dim) for part in (self.actions, self.elites)
        )
        return WarmStart(actions, elites, self.clock)

    def row(self, index: int) -> WarmStart:
        """That of one robot, B being 1."""
        actions, elites = (None if part is None else part[index : index + 1] for part in (self.actions, self.elites))
        return WarmStart(actions, elites, self.clock)

    @classmethod
    def stacked(cls, parts: Sequence[WarmStart]) -> WarmStart:
        """One for all robots of `parts`, which have the same horizon, and either all elites or none; first's clock."""
        actions = [part.actions for part in parts if part.actions is not None]
        elites = [part.elites for part in parts if part.elites is not None]
        if len(actions) not in (0, len(parts)) or len(elites) not in (0, len(parts)):
            raise UserError("some of the robots have a plan, or elites, to start from and others have none")
        return cls(torch.cat(actions) if actions else None, torch.cat(elites) if elites else None, parts[0].clock)


def first_nominal(
    given: Tensor | None, warm: WarmStart, batch: int, horizon: int, low: Tensor, high: Tensor, action_dim: int
) -> Tensor:
    """The plan (B, H, A) that a search of `batch` robots starts from: the one given, else the one before, else rest.

    Args:
        given: (B, H', A), or None.
        low, high: bounds of one model step's action, (A,).
    """
    if given is None and warm.actions is not None and len(warm.actions) == batch:
        return fit_horizon(warm.actions, horizon, action_dim)  # bounds would bend what splines overshoot them
    if given is None:
        given = torch.zeros(batch, 1, len(low), device=low.device)
    return fit_horizon(given, horizon, action_dim).clamp(low, high)
