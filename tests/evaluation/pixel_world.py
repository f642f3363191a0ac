"""A small world model for tests, importable by worker processes: latents are coarse pixels and the pusher's place."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from wmplan.models.base import ModelSpec, WorldModel

SPEC = ModelSpec(
    image_size=(16, 16),
    history=2,
    action_block=5,
    action_low=(-0.2, -0.2),
    action_high=(0.2, 0.2),
    action_mean=(0.0, 0.0),
    action_std=(0.1, 0.1),
    latent_shape=(12 + 2,),
    proprio_dim=2,
    proprio_mean=(0.0, 0.0),
    proprio_std=(0.1, 0.1),
)


class PixelWorld(WorldModel):
    """The pusher goes where it is sent, and nothing else changes."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = SPEC
        self.scale = torch.nn.Parameter(torch.tensor(1.0))

    def encode(self, frames: Any, proprio: Tensor | None = None) -> Tensor:
        self.check_frames(frames)
        coarse = adaptive_avg_pool2d(frames.flatten(0, 1).permute(0, 3, 1, 2).float() / 255, 2)
        visual = coarse.reshape(*frames.shape[:2], 12)
        place = visual[..., :2] * 0 if proprio is None else proprio / 0.1
        return torch.cat([visual, place], -1)

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        self.check_rollout(context, actions, past_actions)
        moves = actions.unflatten(-1, (5, 2)).sum(-2).cumsum(2)  # (B, S, H, 2), of 0.1 s each
        still = context[:, -1, None, None].expand(*moves.shape[:3], 14)
        return torch.cat([still[..., :12], still[..., 12:] + self.scale * moves], -1)
