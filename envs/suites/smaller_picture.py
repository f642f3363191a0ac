"""Pictures that a suite draws at one size, brought to another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def smaller_picture(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture (H, W, 3) at a size (height, width), each pixel the mean of what it covers; the same one at its own."""
    import cv2

    if picture.shape[:2] == tuple(size):
        return picture
    return np.asarray(cv2.resize(picture, (size[1], size[0]), interpolation=cv2.INTER_AREA), np.uint8)
