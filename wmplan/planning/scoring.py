"""Has candidates judged, ranks them with their constraints, and remembers the best."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from wmplan.planning.constraints import Constraint, HardConstraint, SoftConstraint, apply
from wmplan.planning.parameterization import Parameterization

if TYPE_CHECKING:
    from wmplan.planning.planner import Search


def as_floats(costs: Tensor, device: torch.device) -> Tensor:
    """Costs as floats on the planner's device that tell apart what the given ones do.

    Float64 and wide integers become float64, since 1e8 and 1e8 + 1 are one float32; all others become float32.
    """
    is_wide = costs.dtype == torch.float64 or (not costs.is_floating_point() and costs.dtype.itemsize > 2)
    # Apple's GPUs have no float64.
    return costs.to(device, torch.float64 if is_wide and device.type != "mps" else torch.float32)


def rank(costs: Tensor, violation: Tensor | None) -> tuple[Tensor, Tensor]:
    """Sort candidates with finite-or-inf costs (B, S), best first: their keys, ascending, and their order, (B, S) each.

    All that break a hard constraint come after all that keep it, by how much they break it and not by their cost; they
    come before those without a finite cost. The keys are the costs where no constraint is broken; +inf where
    a candidate counts for nothing. Stable: among equals the first is best, so that a flat cost keeps the nominal plan.
    """
    if violation is None:
        keys, order = costs.sort(dim=1, stable=True)
        return keys, order
    keys = rank_costs(costs, violation)
    # Not by the keys alone: beside a large cost, small differences of violation would be rounded away.
    order = torch.where(violation > 0, 0.0, costs).sort(dim=1, stable=True).indices
    broken = torch.where(torch.isfinite(costs), violation.clamp(min=0), torch.nan)  # nan is sorted last
    order = order.gather(1, broken.gather(1, order).sort(dim=1, stable=True).indices)
    return keys.gather(1, order), order


def rank_costs(costs: Tensor, violation: Tensor) -> Tensor:
    """Keys of candidates (B, S) under hard constraints: costs, and above all of them what breaks a constraint."""
    kept = (violation <= 0) & torch.isfinite(costs)
    worst = torch.where(kept, costs, -torch.inf).amax(1, keepdim=True)
    best = torch.where(kept, costs, torch.inf).amin(1, keepdim=True)
    margin = worst - best + 1e-3 * worst.abs() + 1e-6  # more than rounding: never level with a candidate that keeps it
    offset = torch.where(torch.isfinite(worst), worst + margin, 0.0)
    broken = (offset + violation).clamp(max=torch.finfo(costs.dtype).max)
    broken = torch.where(torch.isfinite(costs) & torch.isfinite(violation), broken, torch.inf)
    return torch.where(violation > 0, broken, costs)


class Judge:
    """One plan's cost function with its constraints, and what was seen so far.

    Candidates whose cost is not finite count as +inf. `best_points` (B, D) and `best_cost` (B,) are of the best
    candidate seen: one that keeps the hard constraints before one that does not, then the cheaper.
    """

    def __init__(
        self,
        cost: Callable[[Tensor], Tensor],
        constraints: Sequence[Constraint],
        space: Parameterization,
        action_dim: int,
        low: Tensor,
        high: Tensor,
        record: bool,
    ) -> None:
        self.functions = [item for item in constraints if isinstance(item, SoftConstraint | HardConstraint)]
        self.projections = [item for item in constraints if not isinstance(item, SoftConstraint | HardConstraint)]
        if any(item.on == "latents" for item in self.functions):
            raise ValueError(
                "a constraint on latents was given to plan(): give it to LatentCost, which has the latents"
            )
        self.cost, self.space, self.record = cost, space, record
        self.action_dim, self.low, self.high = action_dim, low, high
        self.exact = space.free and not self.projections  # a point is its actions
        self.seconds, self.candidates, self.candidate_costs = 0.0, [], []  # type: float, list[Tensor], list[Tensor]
        self.by_iteration: list[Tensor] = []
        self.best_points: Tensor
        self.best_cost: Tensor
        self.best_violation: Tensor | None = None
        self.non_finite: Tensor | int = 0

    def actions(self, points: Tensor) -> Tensor:
        """The actions (B, S, H, A) of points (B, S, D), within bounds and projected."""
        return self.allowed(self.space.actions(points))

    def allowed(self, actions: Tensor) -> Tensor:
        """Actions (B, S, H, A) within bounds and projected."""
        if self.exact:
            return actions
        actions = actions.clamp(self.low, self.high)
        for projection in self.projections:
            actions = projection.project(actions, self.action_dim)
        return actions.clamp(self.low, self.high) if self.projections else actions

    def judge(self, actions: Tensor) -> tuple[Tensor, Tensor | None]:
        """Finite-or-inf costs and violations, (B, S) each."""
        begun = time.perf_counter()
        violation = None
        given = actions.clone()  # a cost may write into it, and the search goes on from the actions
        if hasattr(self.cost, "evaluate"):
            costs, violation = self.cost.evaluate(given, differentiable=torch.is_grad_enabled())
        else:
            costs = self.cost(given)
        if not isinstance(costs, Tensor) or costs.shape != actions.shape[:2]:
            what = f"shape {tuple(costs.shape)}" if isinstance(costs, Tensor) else f"a {type(costs).__name__}"
            raise ValueError(f"the cost gave {what}, it has to be a tensor of shape {tuple(actions.shape[:2])}: (B, S)")
        if costs.is_complex():
            raise ValueError("the cost gave complex numbers, they have to be real")
        costs = as_floats(costs, actions.device)
        violation = None if violation is None else violation.to(costs)
        if self.functions:
            costs, violation = apply(self.functions, costs, actions, violation=violation)
        if not math.isfinite(float(costs.detach().sum())):  # one sum tells the usual case in a third of the time
            finite = torch.isfinite(costs)
            costs = torch.where(finite, costs, torch.inf)
            self.non_finite = self.non_finite + (~finite).sum(1)
        self.seconds += time.perf_counter() - begun
        return costs, violation

    def __call__(self, search: Search, points: Tensor, num_elites: int, num_kept: int, gradient: bool) -> None:
        """Judge the points (B, S, D); sets the search's elites, and its gradient where asked for."""
        if gradient:
            points = points.detach().requires_grad_()
            with torch.enable_grad():
                actions = self.actions(points)
                costs, violation = self.judge(actions)
                aim = costs if violation is None else torch.where(violation > 0, violation, costs)
                total = torch.where(torch.isfinite(aim), aim, 0.0).sum()
                if not total.requires_grad:
                    raise ValueError(
                        "the cost has no gradient: a gradient planner needs a cost made of differentiable operations"
                    )
                (slope,) = torch.autograd.grad(total, points)
            search.gradient = torch.nan_to_num(slope, nan=0.0, posinf=0.0, neginf=0.0)
            points, actions, costs = points.detach(), actions.detach(), costs.detach()
            violation = None if violation is None else violation.detach()
        else:
            actions = self.actions(points)
            costs, violation = self.judge(actions)
        if self.projections and self.space.free:
            points = actions.reshape(points.shape)
        search.points = points
        if self.record:
            self.candidates.append(actions.clone())
            self.candidate_costs.append(costs.clone())
        self.by_iteration.append(costs.amin(1))
        if num_kept and search.elites is not None and search.elite_costs is not None:
            points = torch.cat([points, search.elites[:, :num_kept]], dim=1)
            costs = torch.cat([costs, search.elite_costs[:, :num_kept]], dim=1)
            if violation is not None and search.elite_violation is not None:
                violation = torch.cat([violation, search.elite_violation[:, :num_kept]], dim=1)
        keys, order = rank(costs, violation)
        search.elite_keys, order = keys[:, :num_elites], order[:, :num_elites]
        search.elite_costs = search.elite_keys if violation is None else costs.gather(1, order)
        search.elite_violation = None if violation is None else violation.gather(1, order)
        if len(points) == 1:
            search.elites = points[0].index_select(0, order[0])[None]
        else:
            search.elites = points.gather(1, order[..., None].expand(-1, -1, points.shape[2]))
        self._remember(search.elites[:, 0], search.elite_costs[:, 0], search.elite_violation)

    def _remember(self, points: Tensor, costs: Tensor, violation: Tensor | None) -> None:
        worse = None if violation is None else violation[:, 0]
        if not hasattr(self, "best_cost"):
            self.best_points, self.best_cost, self.best_violation = points, costs, worse
            return
        better = costs < self.best_cost
        if worse is not None and self.best_violation is not None:
            better = torch.isfinite(costs) & ((worse < self.best_violation) | ((worse == self.best_violation) & better))
            better |= torch.isinf(self.best_cost) & torch.isfinite(costs)
            self.best_violation = torch.where(better, worse, self.best_violation)
        self.best_points = torch.where(better[:, None], points, self.best_points)
        self.best_cost = torch.where(better, costs, self.best_cost)

    def final(self, search: Search, replace: bool) -> None:
        """Judge the nominal plan (B, D) as one more candidate; `replace` makes it the result wherever it is finite."""
        costs, violation = self.judge(self.actions(search.mean[:, None]))
        if replace:
            finite = torch.isfinite(costs[:, 0])
            self.best_cost = torch.where(finite, torch.inf, self.best_cost)
            if self.best_violation is not None:
                self.best_violation = torch.where(finite, torch.inf, self.best_violation)
        self._remember(search.mean, costs[:, 0], violation)

    @property
    def diagnostics(self) -> dict[str, Any]:
        """What Plan.diagnostics says of the judging."""
        zeros = torch.zeros_like(self.best_cost, dtype=torch.int64)
        kept = zeros == 0 if self.best_violation is None else self.best_violation <= 0
        recorded = {"candidates": self.candidates, "candidate_costs": self.candidate_costs} if self.record else {}
        return {
            "cost_by_iteration": torch.stack(self.by_iteration),
            "non_finite": zeros + self.non_finite,
            "feasible": kept,
            "cost_ms": 1e3 * self.seconds,
            **recorded,
        }
