"""A made-up planning problem for a model: latents to start from and to reach."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wmplan.models.base import WorldModel
from wmplan.planning.cost import LatentCost
from wmplan.planning.objectives.registry import LatentDistance


@dataclass(frozen=True)
class Problem:
    """What is planned with.

    Attributes:
        model: the world model.
        context: latents of the last T frames, of shape (B, T, *latent).
        goal: latents to reach, of shape (B, *latent).
        past_actions: between the context's frames, of shape (B, T - 1, A).
    """

    model: WorldModel
    context: Tensor
    goal: Tensor
    past_actions: Tensor

    def cost(self) -> LatentCost:
        """The squared distance to the goal after the last step."""
        return LatentCost(self.model, LatentDistance(), self.context, self.goal, self.past_actions)


def make_problem(model: WorldModel, batch: int, frames: int | None = None, seed: int = 0) -> Problem:
    """Random latents of `frames` frames (the model's whole history if left out) and a goal for `batch` robots."""
    spec = model.spec
    frames = spec.history if frames is None else frames
    generator = torch.Generator().manual_seed(seed)
    low, high = spec.block_bounds()
    device = model.device
    latents = torch.randn(batch, frames + 1, *spec.latent_shape, generator=generator)
    past = low + (high - low) * torch.rand(batch, frames - 1, spec.block_dim, generator=generator)
    return Problem(model, latents[:, :frames].to(device), latents[:, frames].to(device), past.to(device))
