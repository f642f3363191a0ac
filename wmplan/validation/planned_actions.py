"""What the planner would have done beside what was done: the offline action error and score of jepa-wms.

Terver et al. 2025 (arXiv:2512.24497, facebookresearch/jepa-wms) judge models on DROID, where no robot is at hand, by
planning to a recorded frame. Their action error is, entry by entry, the difference between the sum of the planned
actions and the sum of those recorded, in absolute value and summed over entries; V-JEPA 2-AC is measured by it there.
Their action score is 800 (0.1 - action error of x, y, z in metres), at least 0. What an error is worth depends on the
robot, so here the score is 100 (1 - error / error of what was recorded in other windows), at least 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wmplan.validation.planning_problem import PlanningProblem, other_actions
from wmplan.validation.recordings import Batch


@dataclass(frozen=True)
class PlannedActions:
    """By model step of the goal, means over windows.

    Attributes:
        windows: that were planned in.
        action_error: as jepa-wms has it, in the action's units.
        action_error_by_entry: the same of each entry of the action, a list a step.
        action_error_chance: of what was recorded in other windows.
        action_score: from 0, no better than these, to 100, the recorded actions' sum.
    """

    windows: int
    action_error: list[float]
    action_error_by_entry: list[list[float]]
    action_error_chance: list[float]
    action_score: list[float]


@torch.inference_mode()
def planned_actions(problem: PlanningProblem, batch: Batch, seed: int) -> PlannedActions:
    """Plan to the frame 1, 2, ... model steps ahead, as far as plans reach."""
    generator = torch.Generator().manual_seed(seed)
    dim = problem.model.spec.action_dim
    others = other_actions(batch, 16, generator)  # (N, S, K, A)
    errors, by_entry, chances = [], [], []
    for step in range(1, min(problem.horizon, batch.actions.shape[1]) + 1):
        recorded = batch.actions[:, :step]
        wrong = summed_difference(problem.plans(batch, step, seed), recorded, dim).mean(0)  # (a,)
        chance = summed_difference(others[:, :, :step], recorded[:, None], dim).flatten(0, 1).mean(0)
        errors.append(float(wrong.sum()))
        by_entry.append([float(value) for value in wrong])
        chances.append(float(chance.sum()))
    scores = [100 * max(0.0, 1 - error / max(other, 1e-12)) for error, other in zip(errors, chances, strict=True)]
    return PlannedActions(len(batch.now), errors, by_entry, chances, scores)


def summed_difference(planned: Tensor, recorded: Tensor, dim: int) -> Tensor:
    """Absolute difference of the sums over robot steps of actions (..., K, A), by entry, (..., a)."""
    difference = (planned - recorded).unflatten(-1, (-1, dim))  # (..., K, block, a)
    return difference.double().sum((-3, -2)).abs().cpu()
