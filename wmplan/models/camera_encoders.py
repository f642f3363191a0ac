"""From the frames of every camera to one visual latent: an encoder for each camera, or the same for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from wmplan.models.encoders.second_look import SecondLook


class CameraEncoders(nn.ModuleList):
    """One encoder a camera, or one for all, their latents side by side.

    Cameras that see alike, as two at either side of a table, teach one encoder twice as much; a camera at the hand
    sees things of its own.

    Args:
        make: makes the encoder of one camera, from uint8 frames (N, H, W, 3) to latents (N, d).
        cameras: how many there are.
        sharing: whether each camera has an encoder of its own, or all have the same.
    """

    def __init__(self, make: Callable[[], nn.Module], cameras: int, sharing: Literal["own", "shared"]) -> None:
        super().__init__(make() for _ in range(cameras if sharing == "own" else 1))
        self.cameras = cameras

    def forward(self, frames: list[Tensor], parts: Sequence[list[Tensor]] = ()) -> Tensor:
        """uint8 frames (N, H, W, 3), one tensor a camera, to visual latents (N, D).

        Args:
            parts: what the frames were put together from, each of these as the frames; see SecondLook.
        """
        if len(self) == self.cameras:
            by_camera = zip(self, frames, *parts, strict=True)
            return torch.cat([_encoded(encoder, frame, own) for encoder, frame, *own in by_camera], -1)
        latents = _encoded(self[0], torch.cat(frames), [torch.cat(part) for part in parts])  # (cameras N, d)
        return torch.cat(latents.chunk(len(frames)), -1)


def _encoded(encoder: nn.Module, frames: Tensor, parts: Sequence[Tensor]) -> Tensor:
    latents: Tensor = encoder(frames, parts) if isinstance(encoder, SecondLook) else encoder(frames)
    return latents


def side_by_side(encoders: Sequence[nn.Module], frames: Sequence[Tensor]) -> Tensor:
    """Latents (N, D) of frames (N, H, W, 3), one tensor a camera, by an encoder for each or one for all."""
    if len(encoders) == len(frames):
        return torch.cat([encoder(one) for encoder, one in zip(encoders, frames, strict=True)], -1)
    latents: Tensor = encoders[0](torch.cat(list(frames)))
    return torch.cat(latents.chunk(len(frames)), -1)
