"""The cost of candidates under the true simulator: an upper bound for what planning with a model can reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wmplan.errors import UserError
from wmplan.planning.objectives.distances import check_steps, reduce_steps


class OracleCost:
    """Costs (B, S) of candidates (B, S, H, A): each environment simulates its own from its present state.

    Args:
        environments: B environments with `unwrapped.simulate(actions (S, T, a))`, task states (S, T, D),
            `unwrapped.goal` (D,) and `unwrapped.task.distance(states, goal)`.
        steps: how the distances of a plan are reduced: "last", "sum", "min" or "discounted".
        goals: task states (B, D) in place of the environments' goals.
        by_block: measure at the end of each model step, else at every robot step.
    """

    def __init__(
        self,
        environments: Sequence[Any],
        steps: str = "last",
        goals: Sequence[Any] | None = None,
        by_block: bool = False,
    ) -> None:
        check_steps(steps)
        self.environments = [environment.unwrapped for environment in environments]
        self.goals = [environment.goal for environment in self.environments] if goals is None else list(goals)
        if len(self.goals) != len(self.environments):
            raise UserError(f"there are {len(self.goals)} goals for {len(self.environments)} environments")
        self.steps, self.by_block = steps, by_block

    def distances(self, candidates: Tensor) -> Tensor:
        """The task's distance after each robot step, of shape (B, S, T)."""
        batch, samples, horizon, _ = candidates.shape
        if batch != len(self.environments):
            raise UserError(f"candidates are for {batch} environments, there are {len(self.environments)}")
        actions = candidates.detach().double().cpu().numpy()
        costs = []
        for environment, goal, own in zip(self.environments, self.goals, actions, strict=True):
            dim = len(environment.task.action_low)
            states = environment.simulate(own.reshape(samples, -1, dim))  # (S, T, D)
            distance = np.asarray(environment.task.distance(states, goal))
            costs.append(
                distance[:, distance.shape[1] // horizon - 1 :: distance.shape[1] // horizon]
                if self.by_block
                else distance
            )
        return torch.from_numpy(np.stack(costs))

    def __call__(self, candidates: Tensor) -> Tensor:
        return reduce_steps(self.distances(candidates), self.steps).to(candidates.device)
