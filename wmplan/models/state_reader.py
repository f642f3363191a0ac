"""A network of its own for what a goal image says of the robot: its state, read off the frames."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wmplan.errors import UserError
from wmplan.models.encoders.keypoint import Residual
from wmplan.models.encoders.pixels import require_divisible, scale, space_to_depth
from wmplan.models.registry import require_positive

CELL = 4
"""Pixels a side of a cell, whose pixels are its channels."""
SIDE = 8
"""Cells a side of what the last layers see; of larger frames the means over such parts."""


class StateReader(nn.Module):
    """Frames to the robot's state that they show.

    A latent is made to be predicted, and what turns little in a picture has little of it: a head on it reads a hand's
    roll to some 0.1 rad. While the robot moves its state is measured; where a goal is an image alone, how precisely
    that is read is how precisely the robot arrives.

    Convolutions on cells of four pixels, residual blocks at two resolutions, and an MLP of where which feature is.

    Args:
        image_size: (height, width) of the frames.
        cameras: how many there are; each has convolutions of its own.
        state_dim: P, numbers of the state.
        channels: at the two resolutions.
        blocks: residual blocks at each.
        hidden: width of the MLP.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        cameras: int,
        state_dim: int,
        *,
        channels: Sequence[int] = (64, 96),
        blocks: Sequence[int] = (2, 2),
        hidden: int = 256,
    ) -> None:
        super().__init__()
        if len(channels) != 2 or len(blocks) != 2:
            raise UserError(f"channels and blocks must have 2 entries each, got {list(channels)} and {list(blocks)}")
        require_positive("state reader", fine_channels=channels[0], coarse_channels=channels[1], hidden=hidden)
        require_divisible(image_size, CELL, "its cells")
        self.convolutions = nn.ModuleList(_convolutions(channels, blocks) for _ in range(cameras))
        features = self.convolutions[0](torch.zeros(1, 3 * CELL**2, *(side // CELL for side in image_size)))
        inputs = cameras * F.adaptive_avg_pool2d(features, _pooled(features)).numel()
        self.head = nn.Sequential(
            nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, state_dim)
        )

    def forward(self, frames: Sequence[Tensor]) -> Tensor:
        """uint8 frames (N, H, W, 3), one tensor a camera, to standardised states (N, P)."""
        seen = []
        for convolutions, camera in zip(self.convolutions, frames, strict=True):
            cells = scale(space_to_depth(camera, CELL), self.output.weight.dtype).permute(0, 3, 1, 2)  # (N, C, h, w)
            features = convolutions(cells)
            seen.append(F.adaptive_avg_pool2d(features, _pooled(features)).flatten(1))
        states: Tensor = self.head(torch.cat(seen, -1))
        return states

    @property
    def output(self) -> nn.Linear:
        """The last layer, whose numbers are the state's."""
        last = self.head[-1]
        assert isinstance(last, nn.Linear)
        return last


def _convolutions(channels: Sequence[int], blocks: Sequence[int]) -> nn.Sequential:
    fine, coarse = channels
    layers = nn.Sequential(
        nn.Conv2d(3 * CELL**2, fine, 3, padding=1),
        *(Residual(fine) for _ in range(blocks[0])),
        nn.ReLU(),
        nn.Conv2d(fine, coarse, 4, stride=2, padding=1),
        *(Residual(coarse) for _ in range(blocks[1])),
        nn.ReLU(),
        nn.Conv2d(coarse, 32, 1),
    )
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _pooled(features: Tensor) -> tuple[int, int]:
    height, width = features.shape[-2:]
    return min(height, SIDE), min(width, SIDE)
