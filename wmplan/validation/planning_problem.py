"""The model's own planner, cost and candidates on recorded windows: the goal is a frame that was recorded later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wmplan.models.base import WorldModel
from wmplan.planning.cost import LatentCost
from wmplan.planning.objectives.objective import Objective
from wmplan.planning.objectives.registry import make_objective
from wmplan.planning.planner import Planner
from wmplan.planning.registry import make_planner
from wmplan.validation.recordings import Batch


@dataclass(frozen=True, eq=False)
class PlanningProblem:
    """How a model plans.

    Attributes:
        model: the model.
        planner: what searches.
        objective: what predicted latents cost.
    """

    model: WorldModel
    planner: Planner[Any]
    objective: Objective

    @classmethod
    def of(cls, model: WorldModel, settings: Mapping[str, Mapping[str, Any]]) -> PlanningProblem:
        """That of planning_settings()."""
        low, high = model.spec.block_bounds()
        block = model.spec.action_block
        planner = make_planner(low=low, high=high, action_block=block, device=model.device, **settings["planner"])
        return cls(model, planner, make_objective(settings["objective"], model))

    @property
    def horizon(self) -> int:
        """Model steps of a plan."""
        return self.planner.config.horizon

    def cost(self, batch: Batch, step: int) -> LatentCost[WorldModel]:
        """The planner's cost where the goal is the frame `step` model steps ahead."""
        return LatentCost(self.model, self.objective, batch.context, batch.goals[:, step - 1], batch.past)

    def plans(self, batch: Batch, step: int, seed: int) -> Tensor:
        """What the planner would do to get there, (N, step, A)."""
        self.planner.reset([seed + row for row in range(len(batch.now))])
        constraints = list(self.model.projections)
        found = self.planner.plan(self.cost(batch, step), horizon=step, constraints=constraints)
        return found.actions.to(batch.actions)

    def random_actions(self, batch: Batch, count: int, generator: torch.Generator) -> Tensor:
        """Uniform actions within the bounds, (N, count, K, A)."""
        low, high = self.model.spec.block_bounds()
        shape = (len(batch.now), count, *batch.actions.shape[1:])
        drawn = low + (high - low) * torch.rand(shape, generator=generator)
        return drawn.to(batch.actions)


def other_actions(batch: Batch, count: int, generator: torch.Generator) -> Tensor:
    """What was recorded in other windows, (N, count, K, A); fewer of few windows."""
    windows = len(batch.now)
    count = min(count, windows - 1)
    shifts = torch.stack([1 + torch.randperm(windows - 1, generator=generator)[:count] for _ in range(windows)])
    rows = (torch.arange(windows)[:, None] + shifts) % windows  # (N, count), never its own
    return batch.actions[rows.to(batch.actions.device)]
