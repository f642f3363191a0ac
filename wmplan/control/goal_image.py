"""A goal from a picture in a file, such as a snapshot of the robot's camera."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wmplan.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 50_000_000  # of a picture that is opened
ASPECT = 0.02  # by how much the picture's shape may differ from the camera's
SAVE = "save it as 8-bit RGB"


def read_goal_image(path: str | Path, image_size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture in a file as a frame, uint8 (H, W, 3), of the camera's (height, width) in pixels.

    It is turned as its orientation tag says. Grey, palettes and 16 bits a channel become 8-bit RGB. A picture that
    does not say how it would look to a camera is refused: transparent, animated, made for print, of floats.

    Raises:
        UserError: if it is no picture, such a one, or its shape is not the camera's: stretched, it would show another
            scene.
        OSError: if there is no such file.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    height, width = image_size
    with open(path, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is refused below, or does not matter to the pixels
        try:
            with Image.open(file) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise UserError(f"too many pixels: {picture.width} x {picture.height}")
                frames = getattr(picture, "n_frames", 1)
                if frames > 1 and picture.format != "MPO":  # a stereo camera's JPEG: the first is the photograph
                    raise UserError(f"{frames} frames: save the one that shows the goal")
                frame = _as_rgb(ImageOps.exif_transpose(picture), picture.format)
        except UserError as error:
            raise UserError(f"goal: {path} has {error}") from None
        except UnidentifiedImageError as error:
            raise UserError(f"goal: {path} is not a picture of a known format") from error
        except Image.DecompressionBombError as error:
            raise UserError(f"goal: {path} has too many pixels") from error
        except Exception as error:  # whatever a decoder raises at what is damaged
            what = str(error) if isinstance(error, OSError) and error.args else type(error).__name__
            raise UserError(f"goal: {path} is not a picture that can be read ({what})") from error
    if abs(frame.width / frame.height / (width / height) - 1) > ASPECT:
        raise UserError(
            f"goal: {path} is {frame.width} x {frame.height}, the camera's frames are {width} x {height}: "
            "cut it to that shape first"
        )
    if frame.size != (width, height):
        frame = frame.resize((width, height), Image.Resampling.BOX)
    return np.array(frame, np.uint8)


def _as_rgb(picture: Image, file_format: str | None) -> Image:
    """The picture, of a file of that format, in 8-bit RGB.

    Raises:
        UserError: if it is not known how it would look to a camera.
    """
    from PIL import Image

    mode = picture.mode
    if (mode == "I" and file_format in ("PNG", "PPM")) or mode.startswith("I;16"):  # 0 to 65535
        if "transparency" in picture.info:
            raise UserError(f"a transparent colour: fill it first, or {SAVE}")
        grey = np.round(np.asarray(picture, np.float64) / 257).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if mode in ("I", "F"):
        what = "floats" if mode == "F" else "32-bit numbers"
        raise UserError(f"{what}, whose black and white are not known: {SAVE}")
    if mode in ("CMYK", "LAB", "HSV"):
        raise UserError(f"{mode} colours, which a camera does not have: {SAVE}")
    if mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        if np.asarray(picture.getchannel("A")).min() < 255:
            raise UserError("transparent pixels: fill them with what the camera sees there")
    return picture.convert("RGB")
