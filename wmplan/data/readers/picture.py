"""A picture's bytes as a frame."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from wmplan.data.meta import DamagedError, DataError
from wmplan.sixteen_bits import in_eight_bits

MOST_PIXELS = 1 << 26


def decode_picture(content: bytes, shape: tuple[int, ...] | None, where: str) -> NDArray[np.uint8]:
    """A PNG or JPEG as uint8 RGB (H, W, 3).

    Args:
        shape: that it must have; any where None.
        where: it comes from, for messages.

    Raises:
        DataError: where it cannot be decoded, or has another shape.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as picture:
            size = (picture.height, picture.width)
            if (shape is not None and size != shape[:2]) or not 0 < size[0] * size[1] <= MOST_PIXELS:
                raise DataError(f"{where} is {size[0]} x {size[1]}, it must be {_told(shape)}")
            if picture.mode.startswith("I"):
                return np.repeat(in_eight_bits(picture)[..., None], 3, axis=2)
            return np.array(picture.convert("RGB"))
    except DataError:
        raise
    except Exception as error:  # whatever a decoder raises at what is damaged
        raise DamagedError(f"{where} is no PNG or JPEG that can be read ({type(error).__name__})") from None


def _told(shape: tuple[int, ...] | None) -> str:
    return f"at most {MOST_PIXELS} pixels" if shape is None else f"{shape[0]} x {shape[1]}"
