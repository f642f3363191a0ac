"""Scores candidates: their costs under the constraints of a plan, and the best of them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wmplan import device
from wmplan.errors import UserError
from wmplan.planning.constraints import Constraint, HardConstraint, SoftConstraint, apply, broken_by
from wmplan.planning.cost_function import Cost, Evaluation
from wmplan.planning.elites import Best, Elites, Slopes
from wmplan.planning.ranking import as_floats, rank
from wmplan.planning.search_state import SearchSpace


class Scorer:
    """One plan's cost function with its bounds and constraints. Candidates whose cost is not finite count as +inf.

    Args:
        cost: of candidates (B, S, H, A).
        constraints: of the plan.
        space: whose points are scored.
        low, high: bounds of one model step's action, (A,).
        record: keep all candidates and costs for the diagnostics.

    Raises:
        ValueError: at a constraint on latents.
    """

    def __init__(
        self,
        cost: Cost,
        constraints: Sequence[Constraint],
        space: SearchSpace,
        low: Tensor,
        high: Tensor,
        record: bool,
    ) -> None:
        self.functions = [item for item in constraints if isinstance(item, SoftConstraint | HardConstraint)]
        self.projections = [item for item in constraints if not isinstance(item, SoftConstraint | HardConstraint)]
        if any(item.on == "latents" for item in self.functions):
            raise UserError("a constraint on latents was given to plan(): give it to LatentCost, which has the latents")
        self.cost, self.space, self.record = cost, space.parameterization, record
        self.low, self.high = low, high
        self.exact = self.space.free and not self.projections  # a point is its actions
        self.seconds, self.candidates, self.candidate_costs = 0.0, [], []  # type: float, list[Tensor], list[Tensor]
        self.by_iteration: list[Tensor] = []
        self.non_finite: Tensor | int = 0
        self.kept: Elites | None = None  # of the iteration before

    def __call__(self, points: Tensor, num_elites: int, num_kept: int = 0, slopes: bool = False) -> Elites:
        """The best `num_elites` of the points (B, S, D) and of the best `num_kept` of the call before.

        With `slopes`, they come as Slopes. Points of free actions are moved to what the constraints allow.

        Raises:
            ValueError: if the cost gives no costs, or no gradient where slopes are asked for.
        """
        if slopes:
            actions, costs, violation, gradient = self._differentiated(points)
        else:
            actions = self.actions(points)
            costs, violation = self.evaluate(actions)
        if self.projections and self.space.free:
            points = actions.reshape(points.shape)
        if self.record:
            self.candidates.append(actions.clone())
            self.candidate_costs.append(costs.clone())
        self.by_iteration.append(costs.amin(1))
        best, order = self._best(points, costs, violation, num_elites, num_kept)
        if slopes:
            leader = torch.where(order[:, 0] < points.shape[1], order[:, 0], 0) if num_kept else order[:, 0]
            self.kept = Slopes(*best, points, leader, gradient)
        else:
            self.kept = Elites(*best)
        return self.kept

    def nominal(self, mean: Tensor) -> Best:
        """The nominal plan (B, D) as one more candidate."""
        costs, violation = self.evaluate(self.actions(mean[:, None]))
        return Best(mean, costs[:, 0], None if violation is None else violation[:, 0])

    def actions(self, points: Tensor) -> Tensor:
        """The actions (B, S, H, A) of points (B, S, D), within bounds and projected."""
        return self.allowed(self.space.actions(points))

    def allowed(self, actions: Tensor) -> Tensor:
        """Actions (B, S, H, A) within bounds and projected."""
        if self.exact:
            return actions
        actions = actions.clamp(self.low, self.high)
        for projection in self.projections:
            actions = projection.project(actions, self.space.action_dim)
        return actions.clamp(self.low, self.high) if self.projections else actions

    def evaluate(self, actions: Tensor, differentiable: bool = False) -> Evaluation:
        """Finite-or-inf costs and violations, (B, S) each, of actions (B, S, H, A); None without hard constraints."""
        begun = time.perf_counter()
        given = actions.clone()  # a cost may write into it, and the search goes on from the actions
        costs, violation = self.cost.evaluate(given, differentiable)
        if not isinstance(costs, Tensor) or costs.shape != actions.shape[:2]:
            what = f"shape {tuple(costs.shape)}" if isinstance(costs, Tensor) else f"a {type(costs).__name__}"
            raise UserError(f"the cost must give a tensor of shape (B, S) = {tuple(actions.shape[:2])}, got {what}")
        if costs.dtype.is_complex:
            raise UserError("the cost must give real numbers, got complex ones")
        costs = as_floats(costs, actions.device)
        violation = None if violation is None else broken_by(violation, costs)
        if self.functions:
            costs, violation = apply(self.functions, costs, actions, violation=violation)
        # One sum tells the usual case in a third of the time, where it is at hand.
        if not device.is_read_at_once(costs) or not math.isfinite(costs.sum().item()):
            finite = torch.isfinite(costs)
            costs = torch.where(finite, costs, torch.inf)
            self.non_finite = self.non_finite + (~finite).sum(1)
        self.seconds += time.perf_counter() - begun
        return Evaluation(costs, violation)

    def _differentiated(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """The actions of points (B, S, D), their costs and violations, and the slope of what counts at the points."""
        points = points.detach().requires_grad_()
        with torch.enable_grad():
            actions = self.actions(points)
            costs, violation = self.evaluate(actions, differentiable=True)
            aim = costs if violation is None else torch.where(violation > 0, violation, costs)
            total = torch.where(torch.isfinite(aim), aim, 0.0).sum()
            if not total.requires_grad:
                raise UserError(
                    "the cost has no gradient: a gradient planner needs a cost made of differentiable operations"
                )
            (slope,) = torch.autograd.grad(total, points)
        slope = torch.nan_to_num(slope, nan=0.0, posinf=0.0, neginf=0.0)
        return actions.detach(), costs.detach(), None if violation is None else violation.detach(), slope

    def _best(
        self, points: Tensor, costs: Tensor, violation: Tensor | None, num_elites: int, num_kept: int
    ) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor | None], Tensor]:
        """What Elites hold, of points (B, S, D) and of the best of those before, and their places among these."""
        if num_kept and self.kept is not None:
            points = torch.cat([points, self.kept.points[:, :num_kept]], dim=1)
            costs = torch.cat([costs, self.kept.costs[:, :num_kept]], dim=1)
            if violation is not None and self.kept.violation is not None:
                violation = torch.cat([violation, self.kept.violation[:, :num_kept]], dim=1)
        keys, order = rank(costs, violation)
        keys, order = keys[:, :num_elites], order[:, :num_elites]
        if len(points) == 1:
            best = points[0].index_select(0, order[0])[None]
        else:
            best = points.gather(1, order[..., None].expand(-1, -1, points.shape[2]))
        if violation is None:
            return (best, keys, keys, None), order
        return (best, costs.gather(1, order), keys, violation.gather(1, order)), order

    def diagnostics(self) -> dict[str, Any]:
        """What Plan.diagnostics says of the scoring."""
        by_iteration = torch.stack(self.by_iteration)  # (iterations, B)
        zeros = torch.zeros_like(by_iteration[0], dtype=torch.int64)
        recorded = {"candidates": self.candidates, "candidate_costs": self.candidate_costs} if self.record else {}
        told = {"cost_by_iteration": by_iteration, "non_finite": zeros + self.non_finite, "cost_ms": 1e3 * self.seconds}
        return told | recorded
