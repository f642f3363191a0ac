"""How close to the goal a plan gets, in the task's distance: in truth, or as a probe reads it off latents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wmplan.environment import PlanningEnvironment, PlanningTask
from wmplan.evaluation.oracle import OracleCost
from wmplan.models.state_probe import StateProbe
from wmplan.planning.objectives.distances import reduce_steps
from wmplan.planning.objectives.objective import Objective


def steps_of(objective: Mapping[str, Any]) -> str:
    """How an objective's configuration reduces the steps of a plan: its first `steps`, "last" where it has none."""
    for name, value in objective.items():
        if name == "steps":
            return str(value)
        if isinstance(value, Mapping) and (found := steps_of(value)) != "last":
            return found
    return "last"


def reduced(by_step: Tensor, steps: str) -> Tensor:
    """Distances (B, S) of plans from those of each model step (B, S, H); a sum as a mean, to stay a distance."""
    return by_step.mean(-1) if steps == "sum" else reduce_steps(by_step, steps)


def true_distances(env: PlanningEnvironment, candidates: Tensor) -> Tensor:
    """Distances (S, H) after each model step of candidates (S, H, A), simulated from where `env` stands."""
    return OracleCost([env], by_block=True).distances(candidates[None])[0]


@dataclass(frozen=True)
class TrueDistance:
    """Cost (1, S) of candidates (1, S, H, A): what `reduced` gives in the true simulator, from where `env` stands."""

    env: PlanningEnvironment
    steps: str

    def __call__(self, candidates: Tensor) -> Tensor:
        return reduced(true_distances(self.env, candidates[0]), self.steps)[None]


@dataclass(frozen=True)
class ProbeDistance(Objective):
    """An objective that cheats: the task's distance between the states that a probe reads off both latents."""

    probe: StateProbe
    task: PlanningTask
    steps: str = "last"

    @property
    def last_only(self) -> bool:
        """Whether only the last step is read."""
        return self.steps == "last"

    def by_step(self, predicted: Tensor, goal: Tensor) -> Tensor:
        """Distances (B, S, H) of latents (B, S, H, *latent) to goals (B, *latent)."""
        read, wanted = self.probe(predicted), self.probe(goal)[:, None, None]  # (B, S, H, D), (B, 1, 1, D)
        read, wanted = (states.double().cpu().numpy() for states in (read, wanted))
        return torch.from_numpy(np.asarray(self.task.distance(read, wanted))).float()

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        if self.steps == "last":
            predicted = predicted[:, :, -1:]
        return reduced(self.by_step(predicted, goal), self.steps).to(predicted.device)
