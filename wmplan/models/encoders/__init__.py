"""Encoders: from uint8 frames (N, H, W, 3) to visual latents (N, D).

None of them has a norm whose statistics run over the batch: a latent depends on its own frame only, in training as
in planning. The last layer is linear and is followed by no norm, because the anti-collapse losses shape the
distribution of the latents themselves (SIGReg: an isotropic Gaussian), which a norm at the end would hide from them.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from wmplan.models.encoders.hf import HFEncoder
from wmplan.models.encoders.impala import ImpalaEncoder
from wmplan.models.encoders.keypoint import KeypointEncoder
from wmplan.models.encoders.second_look import SecondLook
from wmplan.models.encoders.token_encoder import TokenEncoder
from wmplan.models.encoders.two_streams import TwoStreams
from wmplan.models.encoders.vit import ViTEncoder
from wmplan.models.registry import build
from wmplan.registry import ENCODERS

__all__ = [
    "ENCODERS",
    "HFEncoder",
    "ImpalaEncoder",
    "KeypointEncoder",
    "SecondLook",
    "TokenEncoder",
    "TwoStreams",
    "ViTEncoder",
    "make_encoder",
]


def make_encoder(name: str, image_size: tuple[int, int], latent_dim: int, /, **options: Any) -> nn.Module:
    """The encoder `name` for frames of `image_size` (height, width), with `latent_dim` outputs.

    Raises:
        UserError: at an unknown name or option, or a value that does not fit the image.
    """
    return build(ENCODERS, name, image_size, latent_dim, options=options)
