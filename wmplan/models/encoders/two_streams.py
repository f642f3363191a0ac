"""The scene and the robot, seen by two encoders that do not compete."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wmplan.models.encoders.keypoint import KeypointEncoder


class TwoStreams(nn.Module):
    """An encoder of the scene beside a small one of the robot: latents [scene | robot].

    What tells the robot's actions and its state (inverse dynamics, a head for proprioception) is the quickest thing to
    find in a frame. Asked of the encoder of everything, it takes the filters that would have found what the robot
    acts on: a block's angle was then never learned. Asked of an encoder of its own, it costs a quarter more time.

    Args:
        scene: any encoder, frames (N, H, W, 3) to latents (N, D).
        image_size: (height, width) of the frames.
        robot_dim: numbers in the robot's latent.
        robot_blocks: residual blocks of the robot's encoder.
    """

    def __init__(self, scene: nn.Module, image_size: tuple[int, int], robot_dim: int, robot_blocks: int = 0) -> None:
        super().__init__()
        self.scene = scene
        self.robot = KeypointEncoder(
            image_size, robot_dim, channels=(16, 16), residual_blocks=robot_blocks, keypoints=8, hidden=64
        )

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 frames (N, H, W, 3) to latents (N, D + robot_dim)."""
        return torch.cat([self.scene(frames), self.robot(frames)], -1)
