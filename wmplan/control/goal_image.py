"""A goal from a picture in a file, such as a snapshot of the robot's camera."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wmplan.errors import UserError
from wmplan.sixteen_bits import in_eight_bits

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 50_000_000  # of a picture that is opened
ASPECT = 0.02  # by how much the picture's shape may differ from the camera's
SAVE = "save it as 8-bit RGB"


def read_goal_image(path: str | Path, image_size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture in a file as a frame, uint8 (H, W, 3), of the camera's (height, width) in pixels.

    Raises:
        UserError: as read_picture() and fit_to_camera().
        OSError: if there is no such file.
    """
    return fit_to_camera(read_picture(path), image_size, str(path))


def read_goal_mask(path: str | Path, image_size: tuple[int, int]) -> NDArray[np.bool_]:
    """Where a goal image counts, (H, W), from a picture that is bright there.

    Raises:
        UserError, OSError: as read_goal_image().
    """
    return read_goal_image(path, image_size).mean(-1) > 127


def read_picture(path: str | Path) -> Image:
    """The picture in a file, in 8-bit RGB.

    It is turned as its orientation tag says. Grey, palettes and 16 bits a channel become 8-bit RGB. A picture that
    does not say how it would look to a camera is refused: transparent, animated, made for print, of floats.

    Raises:
        UserError: if it is no picture, or such a one.
        OSError: if there is no such file.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    with open(path, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is refused below, or does not matter to the pixels
        try:
            with Image.open(file) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise UserError(f"too many pixels: {picture.width} x {picture.height}")
                frames = getattr(picture, "n_frames", 1)
                if frames > 1 and picture.format != "MPO":  # a stereo camera's JPEG: the first is the photograph
                    raise UserError(f"{frames} frames: save the one that shows the goal")
                return _as_rgb(ImageOps.exif_transpose(picture), picture.format)
        except UserError as error:
            raise UserError(f"goal: {path} has {error}") from None
        except UnidentifiedImageError as error:
            raise UserError(f"goal: {path} is not a picture of a known format") from error
        except Image.DecompressionBombError as error:
            raise UserError(f"goal: {path} has too many pixels") from error
        except Exception as error:  # whatever a decoder raises at what is damaged
            what = str(error) if isinstance(error, OSError) and error.args else type(error).__name__
            raise UserError(f"goal: {path} is not a picture that can be read ({what})") from error


def fit_to_camera(frame: Image, image_size: tuple[int, int], name: str) -> NDArray[np.uint8]:
    """A picture as a frame, uint8 (H, W, 3), each pixel the mean of what it covers.

    Raises:
        UserError: if its shape is not the camera's: stretched, it would show another scene.
    """
    from PIL import Image

    height, width = image_size
    if abs(frame.width / frame.height / (width / height) - 1) > ASPECT:
        box = _middle(frame.width, frame.height, width / height)
        raise UserError(
            f"goal: {name} is {frame.width} x {frame.height}, the camera's frames are {width} x {height}: "
            f"cut it to that shape first (wmplan goal {name} crop={box} takes its middle)"
        )
    if frame.size != (width, height):
        frame = frame.resize((width, height), Image.Resampling.BOX)
    return np.array(frame, np.uint8)


def _middle(width: int, height: int, aspect: float) -> str:
    """The largest box of that shape in the middle, as [left,top,right,bottom]."""
    wide, high = min(width, round(height * aspect)), min(height, round(width / aspect))
    left, top = (width - wide) // 2, (height - high) // 2
    return f"[{left},{top},{left + wide},{top + high}]"


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
        return Image.fromarray(in_eight_bits(picture)).convert("RGB")
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
