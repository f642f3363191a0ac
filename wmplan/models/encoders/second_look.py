"""An encoder beside a second one that sees through looks: the first is believed where the two agree."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wmplan.errors import UserError
from wmplan.models.encoders.keypoint import KeypointEncoder
from wmplan.models.encoders.two_streams import TwoStreams


class SecondLook(nn.Module):
    """Two encoders of one latent space; which of them speaks is decided frame by frame.

    The second is taught to give a frame of any look the latent that the first gives the nominal one (see
    wmplan.training.appearance), and pays for that in precision. Where a frame looks as in training, the two agree, and
    the latent is the first's to the bit; where it does not, the first is far off and the second speaks.

    Args:
        first: frames (N, H, W, 3) to latents (N, D).
        second: the same.
        latent_dim: D.

    Attributes:
        scale: of shape (D,), what each number of the latent changes in a robot step, as a standard deviation.
        tolerance: disagreement up to which the first is believed: a root mean square, in such changes.
    """

    scale: Tensor
    tolerance: Tensor

    def __init__(self, first: nn.Module, second: nn.Module, latent_dim: int) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.register_buffer("scale", torch.ones(latent_dim))
        self.register_buffer("tolerance", torch.zeros(()))

    def forward(self, frames: Tensor, parts: Sequence[Tensor] = ()) -> Tensor:
        """uint8 frames (N, H, W, 3) to latents (N, D).

        Args:
            parts: frames (N, H, W, 3) that these were put together from. The first encoder is believed where it is for
                all of them: half of each of two frames looks like another world.
        """
        first, second = self.first(frames), self.second(frames)
        if parts:
            apart = torch.stack([self.disagreement(self.first(one), self.second(one)) for one in parts]).amax(0)
        else:
            apart = self.disagreement(first, second)  # (N,)
        return torch.where((apart <= self.tolerance).unsqueeze(-1), first, second)

    def disagreement(self, first: Tensor, second: Tensor) -> Tensor:
        """How far apart two latents (N, D) of each frame are, (N,)."""
        return ((first - second) / self.scale).square().mean(-1).sqrt()


def grown(encoder: nn.Module, blocks: int) -> nn.Module:
    """A copy with more residual blocks, half as many for the robot's; they give nothing until they are trained.

    Raises:
        UserError: of an encoder that has none.
    """
    larger = copy.deepcopy(encoder)
    scene = larger.scene if isinstance(larger, TwoStreams) else larger
    if blocks and not isinstance(scene, KeypointEncoder):
        raise UserError(f"{type(scene).__name__} cannot grow by residual blocks: set appearance_blocks=0")
    if isinstance(scene, KeypointEncoder):
        scene.grow(blocks)
    if isinstance(larger, TwoStreams):
        larger.robot.grow(robot_blocks(blocks))
    return larger


def robot_blocks(blocks: int) -> int:
    """Residual blocks of the robot's encoder beside so many of the scene's."""
    return -(-blocks // 2)
