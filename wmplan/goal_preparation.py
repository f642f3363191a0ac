"""What `wmplan goal` runs: a goal image from a picture or a recorded frame, and how unlike the data it is."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from wmplan.atomic_io import write_durably
from wmplan.control.goal_image import fit_to_camera, read_picture
from wmplan.data.meta import DataError
from wmplan.data.reader import open_data
from wmplan.errors import UserError
from wmplan.goal_comparison import DataFrames, row_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from wmplan.models.base import WorldModel

Box = tuple[int, int, int, int]
Corners = tuple[tuple[float, float], ...]
T = TypeVar("T")


def prepare_goal(
    source: Path | dict[str, Path] | None = None,
    out: Path = Path("goal.png"),
    frame: str | None = None,
    data: str | None = None,
    model: str | None = None,
    rotate: float = 0.0,
    crop: Box | dict[str, Box] | None = None,
    resize: tuple[int, int] | None = None,
    exposure: str = "as-is",
    mask: Corners | dict[str, Corners] | None = None,
    camera: str | None = None,
    cameras: tuple[str, ...] | None = None,
) -> str:
    """Write a goal image, or one for each of several cameras, and tell of it.

    Args:
        source: a picture, or one by camera, in.front=FILE in.wrist=FILE; None where frame is given.
        out: the goal image, PNG; of several goal.front.png and so on; a mask is written beside it, goal.mask.png.
        frame: DATA:EPISODE:STEP, a frame of recorded data in place of a picture.
        data: recorded data that the goal is compared with; by default that of frame.
        model: whose cameras the goal is for, and by whose latents it is compared; a shipped name, a folder or file.
        rotate: degrees, counter-clockwise; what then lies outside is black.
        crop: [left, top, right, bottom] in pixels of the picture, once rotated; or by camera, crop.front=[...].
        resize: [height, width] of the goal; by default that of the model's frames, or of the data's.
        exposure: "match" for the mean and spread of brightness, by channel, of the data's frames; match:DATA names it.
        mask: corners [x, y] of a polygon, in pixels of the goal: only what is inside counts; or by camera,
            mask.front=[...], and a camera without one counts whole.
        camera: of the data, of several.
        cameras: of the data, where the goal is of several; by default those of the pictures, or of the model.

    Raises:
        UserError: naming what is wrong.
        OSError: if there is no such picture, or the goal cannot be written.
    """
    if (source is None) == (frame is None):
        raise UserError("give either a picture, in=FILE, or a recorded frame, frame=DATA:EPISODE:STEP")
    if out.suffix.lower() != ".png":
        raise UserError(f"out must end in .png, which keeps every pixel, got {out}")
    matches, _, of = exposure.partition(":")
    if matches != "match" and exposure != "as-is":
        raise UserError(f"exposure must be as-is, match or match:DATA, got {exposure!r}")
    if matches == "match" and not (data or of or frame):
        raise UserError("exposure=match needs data=DIR, whose exposure is matched")
    world = None if model is None else _load(model)
    named = _cameras(source, cameras, world)
    if named is not None and camera is not None:
        raise UserError(f"camera must be left out where the goal is of several, {', '.join(named)}; got {camera}")
    views = [_View(name, None if named is None else name, out) for name in named or ("pixels",)]
    by_name = [one.name for one in views] if named else None
    crops, masks = _by_camera("crop", crop, by_name), _by_camera("mask", mask, by_name)
    data, left_out = data or of or None, None
    if frame is not None:
        recorded, episode, step = _place(frame)
        left_out = episode if data in (None, recorded) else None
        data = data or recorded
    told, goals, seen = [], {}, None
    opened = None if data is None else open_data(data, allow_nan=True, camera=camera, cameras=named)
    try:
        for view in views:
            if frame is None:
                file = source[view.name] if isinstance(source, dict) else source
                assert file is not None
                name, picture = str(file), read_picture(file)
            else:
                name, picture = frame, _recorded(recorded, episode, step, camera, view.name, named)
            cut = _cut(picture, rotate, crops[view.name] if crops else None)
            of_data = (cut.height, cut.width) if opened is None else opened.columns[view.name][0][:2]
            size = _sized(resize or (of_data if world is None else world.spec.image_size))
            goals[view.name] = fit_to_camera(cut, size, name)
            told.append(f"{view.out}: {size[1]} x {size[0]} from {name}")
        if opened is not None:
            seen = DataFrames(opened, {name: goal.shape[:2] for name, goal in goals.items()}, left_out)  # type: ignore[misc]
        if matches == "match" and seen is not None:
            goals = {name: matched(goal, seen.frames[name]) for name, goal in goals.items()}
        insides = {name: polygon(one, goals[name].shape[:2]) for name, one in (masks or {}).items() if one is not None}
        for view in views:
            _write(goals[view.name], view.out)
        for view in (one for one in views if one.name in insides):
            inside = insides[view.name]
            _write(inside.astype(np.uint8) * 255, view.mask)
            told.append(
                f"{view.mask}: {100 * inside.mean():.0f} % of it counts (wmplan serve goal{view.key}={view.out} "
                f"goal_mask{view.key}={view.mask})"
            )
        if seen is not None:
            told += seen.compare(goals, world)
    finally:
        if opened is not None:
            opened.close()
    return "\n".join(told)


@dataclass(frozen=True)
class _View:
    """What is made for one camera.

    Attributes:
        name: the data's column of its frames.
        camera: its name, of several; None where there is one.
        whole: where the goal is written, of several with the camera's name in it.
    """

    name: str
    camera: str | None
    whole: Path

    @property
    def out(self) -> Path:
        return self.whole if self.camera is None else self.whole.with_suffix(f".{self.camera}.png")

    @property
    def mask(self) -> Path:
        return self.out.with_suffix(".mask.png")

    @property
    def key(self) -> str:
        return "" if self.camera is None else f".{self.camera}"


def _cameras(
    source: Path | dict[str, Path] | None, cameras: tuple[str, ...] | None, world: WorldModel | None
) -> tuple[str, ...] | None:
    """The cameras that the goal is of, by name; None for one that needs none.

    Raises:
        UserError: where they are not those of the model, or the pictures are not theirs.
    """
    seen = None if world is None or len(world.spec.cameras) == 1 else world.spec.cameras
    named = cameras or (tuple(source) if isinstance(source, dict) else None) or seen
    if seen is not None and set(named or ()) != set(seen):
        raise UserError(f"the model sees {', '.join(seen)}, the goal is of {', '.join(named or ())}")
    if named is not None and seen is None and world is not None and len(named) > 1:
        raise UserError(f"the model sees one camera, the goal is of {', '.join(named)}")
    if source is not None and named is not None and (not isinstance(source, dict) or set(source) != set(named)):
        pictures = " ".join(f"in.{name}=FILE" for name in named)
        raise UserError(f"the goal is of {', '.join(named)}: give a picture of each, {pictures}")
    return named


def _by_camera(name: str, given: T | dict[str, T] | None, cameras: list[str] | None) -> dict[str, T | None] | None:
    """What holds for each camera, from one value for all, or one by camera."""
    if given is None:
        return None
    if not isinstance(given, dict):
        return dict.fromkeys(cameras or ["pixels"], given)
    if unknown := [one for one in given if one not in (cameras or [])]:
        raise UserError(f"{name}.{unknown[0]}: the goal has no such camera; {', '.join(cameras or ()) or 'it has one'}")
    return {one: given.get(one) for one in cameras or []}


def matched(goal: NDArray[np.uint8], frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The goal (H, W, 3) with the mean and deviation, by channel, of frames (N, H, W, 3)."""
    own, wanted = goal.reshape(-1, 3).astype(np.float64), frames.reshape(-1, 3).astype(np.float64)
    gain = wanted.std(0) / np.maximum(own.std(0), 1.0)
    moved = (goal - own.mean(0)) * gain + wanted.mean(0)
    return np.clip(np.round(moved), 0, 255).astype(np.uint8)


def polygon(corners: tuple[tuple[float, float], ...], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Where the inside of a polygon with corners (x, y) is, in (height, width) pixels.

    Raises:
        UserError: if it has no inside there.
    """
    from PIL import Image, ImageDraw

    height, width = size
    if len(corners) < 3:
        raise UserError(f"mask must have at least 3 corners [x, y], got {len(corners)}")
    if not np.isfinite(corners).all() or np.abs(corners).max() > 1e6:
        raise UserError("mask must have corners that are finite numbers of pixels")
    drawn = Image.new("L", (width, height), 0)
    ImageDraw.Draw(drawn).polygon([(float(x), float(y)) for x, y in corners], fill=1)
    inside = np.asarray(drawn).astype(bool)
    if not inside.any():
        raise UserError(f"mask has no inside within the goal's {width} x {height} pixels")
    return inside


def _load(model: str) -> WorldModel:
    from wmplan.models import load

    return load(model)


def _place(frame: str) -> tuple[str, int, int]:
    data, *numbers = frame.rsplit(":", 2)
    if len(numbers) != 2 or not data or not all(number.isdecimal() for number in numbers):
        raise UserError(f"frame must be DATA:EPISODE:STEP, such as data/robot:12:80, got {frame!r}")
    return data, int(numbers[0]), int(numbers[1])


def _recorded(
    data: str, episode: int, step: int, camera: str | None, column: str, cameras: Sequence[str] | None
) -> Image:
    from PIL import Image

    opened = open_data(data, allow_nan=True, camera=camera, cameras=cameras)
    try:
        if column not in opened.columns:
            raise DataError(f"{data} has no frames")
        if episode >= len(opened):
            raise UserError(f"frame: {data} has the episodes 0 to {len(opened) - 1}, not {episode}")
        if step >= opened.lengths[episode]:
            raise UserError(f"frame: episode {episode} has the steps 0 to {opened.lengths[episode] - 1}, not {step}")
        return Image.fromarray(opened.read(*row_of((episode, step), column))[0])
    finally:
        opened.close()


def _cut(picture: Image, rotate: float, crop: tuple[int, int, int, int] | None) -> Image:
    from PIL import Image

    if not np.isfinite(rotate):
        raise UserError(f"rotate must be finite, got {rotate}")
    if rotate % 360:
        picture = picture.rotate(rotate, resample=Image.Resampling.BICUBIC, expand=rotate % 90 == 0)
    if crop is None:
        return picture
    left, top, right, bottom = crop
    if not (0 <= left < right <= picture.width and 0 <= top < bottom <= picture.height):
        size = f"{picture.width} x {picture.height}"
        raise UserError(f"crop must be [left, top, right, bottom] within {size} pixels, got {list(crop)}")
    return picture.crop(crop)


def _sized(size: tuple[int, ...]) -> tuple[int, int]:
    height, width = int(size[0]), int(size[1])
    if not (1 <= height <= 10_000 and 1 <= width <= 10_000):
        raise UserError(f"resize must be [height, width] from 1 to 10000 pixels, got {list(size)}")
    return height, width


def _write(pixels: NDArray[np.uint8], path: Path) -> None:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    try:
        write_durably(path, lambda file: file.write(content.getvalue()))
    except OSError as error:
        raise UserError(f"out={path} cannot be written: {error.strerror}") from None
