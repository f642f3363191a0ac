"""Analytic worlds, whose frames show every number of their state, and models of them that are right or wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmplan.models.base import ModelSpec, WorldModel

BLOCK, SIZE = 2, 8
LOW, HIGH = -1.0, 1.0


def frames_of(states: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Frames (T, SIZE, SIZE, 3) with a grey stripe a number of the states (T, 4), from -4 to 4 in 65536 levels."""
    levels = np.clip(np.round((states + 4) / 8 * 65535), 0, 65535).astype(np.uint16)
    frames = np.zeros((len(states), SIZE, SIZE, 3), np.uint8)
    for number in range(4):
        frames[:, 2 * number : 2 * number + 2, :, 0] = (levels[:, number] >> 8)[:, None, None]
        frames[:, 2 * number : 2 * number + 2, :, 1] = (levels[:, number] & 255)[:, None, None]
    return frames


class StripeWorld(WorldModel):
    """Reads the state off the stripes and moves its first two numbers by the actions; the others stay.

    Args:
        gain: of each entry of the action: (1, 1) is right.
        noise: deviation of what is added to predictions.
    """

    def __init__(self, gain: tuple[float, float] = (1.0, 1.0), noise: float = 0.0, seen: float = 1.0) -> None:
        super().__init__()
        self.spec = ModelSpec(
            image_size=(SIZE, SIZE),
            history=1,
            action_block=BLOCK,
            action_low=(LOW, LOW),
            action_high=(HIGH, HIGH),
            action_mean=(0.0, 0.0),
            action_std=(0.5, 0.5),
            latent_shape=(4,),
            control_rate=10.0,
        )
        self.card = {"planning": {"planner": {"name": "cem", "num_samples": 64, "num_iterations": 6, "horizon": 3}}}
        self.gain, self.noise, self.seen = torch.tensor(gain), noise, seen

    def encode(self, frames: Any, proprio: Tensor | None = None) -> Tensor:
        self.check_frames(frames)
        stripes = frames[:, :, ::2, 0, :2].float()  # (B, T, 4, 2)
        return self.seen * ((stripes[..., 0] * 256 + stripes[..., 1]) / 65535 * 8 - 4)

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        self.check_rollout(context, actions, past_actions)
        moves = 0.2 * actions.unflatten(-1, (BLOCK, 2)).sum(-2).cumsum(2) * self.gain  # (B, S, H, 2)
        still = context[:, -1, None, None].expand(*moves.shape[:3], 4)
        predicted = torch.cat([still[..., :2] + self.seen * moves, still[..., 2:]], -1)
        generator = torch.Generator().manual_seed(0)
        return predicted + self.noise * torch.randn(predicted.shape, generator=generator)
