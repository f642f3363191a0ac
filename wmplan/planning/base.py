"""What every planner here is: a search over action sequences that sees nothing but a function from candidates to costs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Cost = Callable[[Tensor], Tensor]
"""From candidates, float32 of shape (B, S, H, A), to costs of shape (B, S); lower is better."""


@dataclass
class Plan:
    """The best action sequences a search has seen.

    Attributes:
        actions: in the units of the bounds, of shape (B, H, A).
        cost: of shape (B,); +inf where no candidate had a finite cost.
        diagnostics: `cost_by_iteration` (iterations, B), `effective_sample_size` (iterations, B), `non_finite` (B,),
            `all_non_finite` (B,), `plan_ms` and `iterations`, and what a planner adds.
    """

    actions: Tensor
    cost: Tensor
    diagnostics: dict[str, Any] = field(default_factory=dict)


def environment_generators(seeds: Sequence[int], device: torch.device | str = "cpu") -> list[torch.Generator]:
    """One generator for each environment, so that no plan depends on the others in its batch."""
    return [torch.Generator(device).manual_seed(int(seed)) for seed in seeds]


def shift_plan(actions: Tensor, steps: int, action_dim: int) -> Tensor:
    """A plan (B, H, A) as it stands `steps` robot steps later; the last robot step's action is held at the end."""
    batch, horizon, block = actions.shape
    flat = actions.reshape(batch, horizon * block // action_dim, action_dim)  # (B, robot steps, action_dim)
    index = torch.arange(flat.shape[1], device=actions.device).add(steps).clamp(max=flat.shape[1] - 1)
    return flat[:, index].reshape(batch, horizon, block)
