"""The limit that V-JEPA 2-AC plans within: the position's change stays in an L1 ball."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wmplan.errors import UserError


@dataclass(frozen=True)
class L1Ball:
    """Projects candidates onto the L1 ball, dimension by dimension of every robot step.

    Attributes:
        radius: largest sum of absolute values, in the action's units.
        dims: the numbers of a robot step's action that it counts.
    """

    radius: float
    dims: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.radius > 0:
            raise UserError(f"radius must be above zero, got {self.radius}")

    def project(self, actions: Tensor, action_dim: int) -> Tensor:
        """Candidates (B, S, H, A) with every robot step moved to the nearest point of the ball (Duchi et al. 2008)."""
        steps = actions.unflatten(-1, (-1, action_dim))  # (B, S, H, robot steps, action_dim)
        chosen = steps[..., list(self.dims)]
        ordered = chosen.abs().sort(dim=-1, descending=True).values
        excess = ordered.cumsum(-1) - self.radius
        counts = torch.arange(1, len(self.dims) + 1, device=actions.device, dtype=actions.dtype)
        active = (ordered * counts > excess).sum(-1, keepdim=True).clamp(min=1)
        threshold = (excess.gather(-1, active - 1) / active).clamp(min=0)
        kept = steps.clone()
        kept[..., list(self.dims)] = chosen.sign() * (chosen.abs() - threshold).clamp(min=0)
        return kept.flatten(-2)

    def excess(self, actions: Tensor, action_dim: int) -> Tensor:
        """How far the worst robot step of candidates (B, S, H, A) is outside, (B, S): a function for HardConstraint."""
        steps = actions.unflatten(-1, (-1, action_dim))[..., list(self.dims)]
        return (steps.abs().sum(-1) - self.radius).flatten(2).amax(2)
