"""From camera frames to what the released encoders were trained on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def to_channels_first(frames: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    """uint8 frames (..., H, W, 3) as floats from 0 to 255, of shape (n, 3, H, W)."""
    return frames.reshape(-1, *frames.shape[-3:]).to(device).movedim(-1, 1).to(dtype).contiguous()


def centre_square(images: Tensor) -> Tensor:
    """The centre square of the short side of images (n, 3, H, W)."""
    height, width = images.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[..., top : top + side, left : left + side]


def resize(images: Tensor, size: int, antialias: bool) -> Tensor:
    """Square images (n, 3, side, side) at another size: bilinear with half-pixel centres."""
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False, antialias=antialias)


def standardise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Channels (n, 3, H, W) less their mean, divided by their standard deviation."""
    shape = (1, -1, 1, 1)
    return (images - images.new_tensor(mean).view(shape)) / images.new_tensor(std).view(shape)
