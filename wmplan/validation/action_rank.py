"""Where the recorded actions rank among other candidates, by the planner's own cost of getting where they led."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from wmplan.validation.planning_problem import PlanningProblem, other_actions
from wmplan.validation.recordings import Batch

FLAT = 1e-3
"""Spread of costs below which a cost tells nothing apart."""
BLEND = 0.25
"""How far blended candidates go from the recorded actions towards those of other windows."""


@dataclass(frozen=True)
class ActionRank:
    """By model step of the goal, means over windows.

    Attributes:
        windows, candidates: how many were compared, and with how many of each kind.
        rank: median rank of the recorded actions among the random candidates, 1 being the best.
        beats_random: share of the random candidates that cost more than the recorded actions; ties count half.
        beats_recorded: the same of what was recorded in other windows, which is harder to tell apart.
        beats_blended: the same of the recorded actions moved a quarter of the way towards these, which is hardest.
        spread: of the random candidates' costs, from their 10 % to their 90 % quantile, over their median.
        own_cost: cost of the recorded actions over the median of the other recorded ones: the model's error in it.
    """

    windows: int
    candidates: int
    rank: list[float]
    beats_random: list[float]
    beats_recorded: list[float]
    beats_blended: list[float]
    spread: list[float]
    own_cost: list[float]

    @property
    def is_flat(self) -> bool:
        """Whether the cost hardly tells candidates apart, whatever the goal."""
        return max(self.spread) < FLAT


@torch.inference_mode()
def action_rank(problem: PlanningProblem, batch: Batch, candidates: int, seed: int) -> ActionRank:
    """Compare the recorded actions with random ones and with those of other windows, for every goal."""
    generator = torch.Generator().manual_seed(seed)
    others, own_actions = other_actions(batch, candidates, generator), batch.actions[:, None]
    random_actions = problem.random_actions(batch, candidates, generator)
    blended = torch.lerp(own_actions.expand_as(others), others, BLEND)
    actions = torch.cat([own_actions, random_actions, others, blended], 1)  # (N, 1 + S + 2 others, K, A)
    parts = [1, candidates, others.shape[1], others.shape[1]]
    found: dict[str, list[float]] = {field.name: [] for field in fields(ActionRank)[2:]}
    for step in range(1, batch.actions.shape[1] + 1):
        costs = problem.cost(batch, step)(actions[:, :, :step]).double().cpu()
        costs = torch.where(torch.isfinite(costs), costs, torch.inf)
        own, random, recorded, near = costs.split(parts, 1)
        beats = beaten(own, random)
        found["rank"].append(float((1 + candidates * (1 - beats)).median()))
        found["beats_random"].append(float(beats.mean()))
        found["beats_recorded"].append(float(beaten(own, recorded).mean()))
        found["beats_blended"].append(float(beaten(own, near).mean()))
        low, middle, high = torch.quantile(random, torch.tensor([0.1, 0.5, 0.9], dtype=random.dtype), dim=1)
        found["spread"].append(float(share(high - low, middle.abs()).median()))
        found["own_cost"].append(float(share(own[:, 0], recorded.median(1).values).median()))
    return ActionRank(len(batch.now), candidates, **found)


def beaten(own: Tensor, others: Tensor) -> Tensor:
    """Share of the costs (N, S) that are above the own one (N, 1), ties counting half, (N,)."""
    return ((others > own).double() + 0.5 * (others == own)).mean(1)


def share(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole; 0 where the part is, +inf where it is not a number."""
    found = torch.where(part == 0, 0.0, part / whole)
    return torch.where(torch.isnan(found), torch.inf, found)
