"""What a latent would be if its robot stood elsewhere, and all else stayed: for goals that ask nothing of the robot."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wmplan.models.registry import require_positive


class RobotPlacement(nn.Module):
    """Latents of a scene to those of the same scene with the robot in another state.

    An encoder of everything tells of the robot, too: on Push-T the block's part of a latent changes four times as much
    when the pusher stands anywhere else as when the block moves by a centimetre. A goal whose robot does not count
    cannot be compared with a plan's end before both have their robot in one place.

    Args:
        visual_dim: D, the numbers of a latent that come from frames.
        state_dim: P, those of the robot's state after them.
        width, depth: of the MLP, whose output is added to what there is.
    """

    def __init__(self, visual_dim: int, state_dim: int, *, width: int = 256, depth: int = 2) -> None:
        super().__init__()
        require_positive("robot placement", width=width, depth=depth)
        self.visual_dim = visual_dim
        layers: list[nn.Module] = [nn.Linear(visual_dim + 2 * state_dim, width), nn.SiLU()]
        for _ in range(depth - 1):
            layers += [nn.Linear(width, width), nn.SiLU()]
        self.change = nn.Sequential(*layers, nn.Linear(width, visual_dim))

    def forward(self, latents: Tensor, state: Tensor) -> Tensor:
        """Latents (..., D + P) whose robot is put into the standardised states (..., P), as such latents."""
        change = self.change(torch.cat([latents, state], -1))
        return torch.cat([latents[..., : self.visual_dim] + change, state], -1)
