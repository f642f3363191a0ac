"""Ranks candidates by their costs and by how much they break hard constraints."""

from __future__ import annotations

import torch
from torch import Tensor


def as_floats(costs: Tensor, device: torch.device) -> Tensor:
    """Costs as floats on the planner's device that tell apart what the given ones do.

    Float64 and wide integers become float64, since 1e8 and 1e8 + 1 are one float32; all others become float32.
    """
    if costs.dtype == torch.float32 and costs.device == device:
        return costs
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
