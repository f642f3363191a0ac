"""What a search gives: the plan, and what there is to say of how it was found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class Plan:
    """The best action sequences a search has seen.

    Attributes:
        actions: in the units of the bounds, of shape (B, H, A).
        cost: of shape (B,), float64 where the cost function's are wide, else float32; +inf where no candidate had a
            finite cost.
        diagnostics: `cost_by_iteration`, the best new candidate's (iterations, B); `effective_sample_size`
            (iterations, B); `non_finite`, the number of candidates without a finite cost (B,); `all_non_finite`
            (B,), where the nominal plan was kept; `feasible` (B,), whether the hard constraints are kept;
            `iterations`; `plan_ms`, of it `cost_ms` in the cost function; `iteration_ms`, the longest iteration;
            `overrun_ms` past the deadline, where there was one; with record=True, `candidates` and
            `candidate_costs`: lists over iterations of (B, S, H, A) and (B, S).
    """

    actions: Tensor
    cost: Tensor
    diagnostics: dict[str, Any] = field(default_factory=dict)
