"""A goal from a picture in a file, such as a snapshot of the robot's camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wmplan.errors import UserError

MAX_PIXELS = 50_000_000  # of a picture that is opened
ASPECT = 0.02  # by how much the picture's shape may differ from the camera's


def read_goal_image(path: str | Path, image_size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture in a file as a frame, uint8 (H, W, 3), of the camera's (height, width) in pixels.

    Raises:
        UserError: if it is no picture, or its shape is not the camera's: stretched, it would show another scene.
        OSError: if there is no such file.
    """
    from PIL import Image, UnidentifiedImageError

    height, width = image_size
    with open(path, "rb") as file:
        try:
            with Image.open(file) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise UserError(f"goal: {path} has {picture.width} x {picture.height} pixels, that is too many")
                if abs(picture.width / picture.height / (width / height) - 1) > ASPECT:
                    raise UserError(
                        f"goal: {path} is {picture.width} x {picture.height}, the camera's frames are "
                        f"{width} x {height}: cut it to that shape first"
                    )
                frame = picture.convert("RGB")
                if frame.size != (width, height):
                    frame = frame.resize((width, height), Image.Resampling.BOX)
                return np.asarray(frame, np.uint8).copy()
        except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError, EOFError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"goal: {path} is not a picture that can be read ({type(error).__name__})") from error
        except OSError as error:  # a truncated picture: it has no file name, the file itself was opened above
            raise UserError(f"goal: {path} is not a picture that can be read ({error})") from error
