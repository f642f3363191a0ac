"""The cost of candidates under a world model: roll out, compare with the goal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from wmplan.planning.combinations import start
from wmplan.planning.constraints import Penalty, Rejection, apply
from wmplan.planning.distances import Objective

if TYPE_CHECKING:
    from wmplan.models.base import WorldModel

ACTIVATIONS = 16
"""Working memory of a rollout in multiples of the predicted latents, as a guess for models that do not say."""


def memory_bound(device: torch.device) -> int:
    """Bytes one chunk of candidates may take: a quarter of what the device has free."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 4
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024 // 4
    return 1 << 30


class LatentCost:
    """Costs (B, S) of candidates (B, S, H, A): one plan's cost function.

    The context and the goal come encoded, once a plan. Candidates are rolled out in chunks whose memory is bounded.
    A model may have `rollout_last(context, actions, past_actions)`, predicted latents (B, S, 1, *latent) after the
    last step alone; it is used where nothing else is read. It may have `rollout_bytes(horizon)`, the working
    memory of one candidate.

    Args:
        model: the world model.
        objective: the cost of predicted latents.
        context: latents of the last T frames, of shape (B, T, *latent).
        goal: latents of the goals, of shape (B, *latent).
        past_actions: executed between the context frames, of shape (B, T - 1, A).
        max_batch_bytes: bound on a chunk's memory; by default a part of what the machine has free.
        constraints: penalties and rejections on latents.

    Raises:
        ValueError: if the goal does not fit the context or the bound is not positive.
    """

    def __init__(
        self,
        model: WorldModel,
        objective: Objective,
        context: Tensor,
        goal: Tensor,
        past_actions: Tensor | None = None,
        max_batch_bytes: int | None = None,
        constraints: Sequence[Penalty | Rejection] = (),
    ) -> None:
        if goal.shape != context[:, -1].shape:
            raise ValueError(
                f"goal has shape {tuple(goal.shape)}, beside this context it has to be {tuple(context[:, -1].shape)}"
            )
        if max_batch_bytes is not None and max_batch_bytes < 1:
            raise ValueError(f"max_batch_bytes is {max_batch_bytes}, it has to be at least 1")
        if any(constraint.on != "latents" for constraint in constraints):
            raise ValueError("a constraint on actions was given to LatentCost: give it to plan()")
        self.model, self.context, self.goal, self.past_actions = model, context, goal, past_actions
        self.constraints = tuple(constraints)
        with torch.no_grad():
            self.objective = start(objective, context[:, -1], goal)
        self.last_only = self.objective.last_only and not self.constraints
        self.max_batch_bytes = max_batch_bytes or memory_bound(context.device)

    def chunk(self, horizon: int) -> int:
        """Candidates of each environment that are rolled out at once."""
        own: Any = getattr(self.model, "rollout_bytes", None)
        guess = 4 * horizon * math.prod(self.goal.shape[1:]) * ACTIVATIONS
        size = guess if own is None else int(own(horizon))
        return max(1, self.max_batch_bytes // (size * len(self.goal)))

    def predict(self, candidates: Tensor) -> Tensor:
        """Predicted latents (B, S, H, *latent), or (B, S, 1, *latent) where only the last are read."""
        last: Any = getattr(self.model, "rollout_last", None)
        if self.last_only and last is not None:
            return last(self.context, candidates, self.past_actions)
        return self.model.rollout(self.context, candidates, self.past_actions)

    def evaluate(self, candidates: Tensor, differentiable: bool = False) -> tuple[Tensor, Tensor | None]:
        """Costs, and by how much rejections on latents are broken (None without any), (B, S) each."""
        parts, broken = [], []
        with torch.inference_mode(not differentiable):
            for part in candidates.to(self.context.device).split(self.chunk(candidates.shape[2]), dim=1):
                predicted = self.predict(part)
                costs = self.objective(predicted, self.goal, part)
                costs, violation = apply(self.constraints, costs, predicted, part)
                parts.append(costs)
                if violation is not None:
                    broken.append(violation)
            costs = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
            return costs, torch.cat(broken, dim=1) if broken else None

    def __call__(self, candidates: Tensor) -> Tensor:
        return self.evaluate(candidates)[0]

    def differentiable(self, candidates: Tensor) -> Tensor:
        """The same costs, through which gradients reach the candidates."""
        return self.evaluate(candidates, differentiable=True)[0]
