"""Pictures of 16 bits a pixel, of which Pillow cuts off all above 255."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image


def in_eight_bits(picture: Image) -> NDArray[np.uint8]:
    """Grey levels (H, W) from 0 to 255, of a picture whose are from 0 to 65535."""
    levels = np.asarray(picture, np.float64).clip(0, 65535)  # Pillow holds them as 32 bits, too
    return np.round(levels / 257).astype(np.uint8)
