"""The part of an objective that is about the robot itself, and the part that is about all else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from wmplan.planning.objectives.combinations import SwitchByDistance, WeightedSum, start
from wmplan.planning.objectives.distances import (
    ActionPenalty,
    LatentDistance,
    ProprioDistance,
    WorkspaceLimit,
)
from wmplan.planning.objectives.objective import Objective


def on_robot_state(objective: Objective, dim: int) -> Objective:
    """What an objective says of the robot's own state, `dim` numbers, of where it may be, and of actions."""
    terms = _terms(objective)
    states = [(weight, replace(one, read=None)) for weight, one in terms if isinstance(one, ProprioDistance)]
    others = [(weight, one) for weight, one in terms if isinstance(one, ActionPenalty | WorkspaceLimit)]
    return WeightedSum([*(states or [(1.0, ProprioDistance(dim))]), *others])


def on_scene(objective: Objective, robot: Tensor) -> Objective:
    """What an objective says of all but the robot, and of actions.

    Distances from the goal's latent leave the robot's numbers out, those from its state are left out; the rest, such as
    a critic, stays as it is.

    Args:
        robot: which of a flat latent's L numbers are the robot's, (L,) of true and false, not all.
    """
    kept = [(weight, one) for weight, term in _terms(objective) if (one := _scene_term(term, robot)) is not None]
    if all(isinstance(one, ActionPenalty | WorkspaceLimit) for _, one in kept):
        kept.insert(0, (1.0, without(LatentDistance(), robot)))
    return WeightedSum(kept)


def _scene_term(term: Objective, robot: Tensor) -> Objective | None:
    if isinstance(term, ProprioDistance):
        return None
    if isinstance(term, LatentDistance):
        return without(term, robot)
    if isinstance(term, SwitchByDistance):
        measure = None if term.measure is None else on_scene(term.measure, robot)
        return SwitchByDistance(on_scene(term.near, robot), on_scene(term.far, robot), term.threshold, measure)
    return term


@dataclass(frozen=True)
class RobotAnywhere(Objective):
    """An objective of latents with the robot put where it is in the goal's: what it asks of all but the robot.

    Attributes:
        objective: of flat latents that end with the robot's state.
        place: gives latents (..., L) the robot states (..., P), all else being as it is.
        state_dim: P.
    """

    objective: Objective
    place: Callable[[Tensor, Tensor], Tensor]
    state_dim: int

    @property
    def last_only(self) -> bool:
        return self.objective.last_only

    @property
    def at_executed(self) -> Objective | None:
        there = self.objective.at_executed
        return None if there is None else replace(self, objective=there)

    def for_start(self, current: Tensor, goal: Tensor) -> Objective:
        return replace(self, objective=start(self.objective, self.placed(current, goal), goal))

    def placed(self, latents: Tensor, goal: Tensor) -> Tensor:
        """Latents (B, *, L) with the robots where they are in the goals (B, L)."""
        state = goal[:, -self.state_dim :]
        between = (1,) * (latents.ndim - goal.ndim)
        return self.place(latents, state.unflatten(0, (-1, *between)).expand(*latents.shape[:-1], -1))

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        if self.last_only:
            predicted = predicted[:, :, -1:]
        return self.objective(self.placed(predicted, goal), goal, actions)


def without(distance: LatentDistance, left_out: Tensor) -> LatentDistance:
    """A distance in which some numbers of the latent do not count, whatever they are.

    With a whitening W, |W d|^2 = d^T C^-1 d with C the covariance of usual changes: what is left out is left out of C,
    so that the rest counts as its own changes say (the marginal distribution, not the one given that nothing else
    differs, in which noise that two numbers share would count most).

    Args:
        left_out: of the latent's L numbers, (L,) of true and false.
    """
    size = len(left_out) if distance.size is None else distance.size
    kept = torch.nonzero(~left_out[:size])[:, 0]
    whitening = torch.zeros(size, size, dtype=torch.double)
    if distance.whitening is None:
        whitening[kept, kept] = 1.0
        return replace(distance, whitening=whitening.float().to(left_out.device))
    given = distance.whitening.double().cpu()
    covariance = torch.linalg.inv(given.T @ given)[kept.cpu()][:, kept.cpu()]
    rows, columns = kept.cpu()[:, None], kept.cpu()[None]
    whitening[rows, columns] = torch.linalg.inv(torch.linalg.cholesky(covariance))
    return replace(distance, whitening=whitening.to(distance.whitening))


def _terms(objective: Objective) -> list[tuple[float, Objective]]:
    return list(objective.terms) if isinstance(objective, WeightedSum) else [(1.0, objective)]
