"""What `wmplan goal` runs: a goal image from a picture or a recorded frame, and how unlike the data it is."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wmplan.atomic_io import write_durably
from wmplan.control.goal_image import fit_to_camera, read_picture
from wmplan.data.converted import resized
from wmplan.data.meta import DataError
from wmplan.data.reader import Reader, open_data
from wmplan.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

    from wmplan.models.base import WorldModel

LOOKED_AT = 400  # frames of the data that the goal is compared with
UNLIKE = 0.99  # part of the data's own frames that are nearer to their nearest than a goal worth a warning
SEED = 0


def prepare_goal(
    source: Path | None = None,
    out: Path = Path("goal.png"),
    frame: str | None = None,
    data: str | None = None,
    model: str | None = None,
    rotate: float = 0.0,
    crop: tuple[int, int, int, int] | None = None,
    resize: tuple[int, int] | None = None,
    exposure: str = "as-is",
    mask: tuple[tuple[float, float], ...] | None = None,
    camera: str | None = None,
) -> str:
    """Write a goal image, and tell of it.

    Args:
        source: a picture; None where frame is given.
        out: the goal image, PNG; the mask is written beside it, goal.mask.png.
        frame: DATA:EPISODE:STEP, a frame of recorded data in place of a picture.
        data: recorded data that the goal is compared with; by default that of frame.
        model: whose camera the goal is for, and by whose latents it is compared; a shipped name, a folder or file.
        rotate: degrees, counter-clockwise; what then lies outside is black.
        crop: [left, top, right, bottom] in pixels of the picture, once rotated.
        resize: [height, width] of the goal; by default that of the model's frames, or of the data's.
        exposure: "match" for the mean and spread of brightness, by channel, of the data's frames; match:DATA names it.
        mask: corners [x, y] of a polygon, in pixels of the goal: only what is inside counts.
        camera: of the data, of several.

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
    name, data, left_out = str(source), data or of or None, None
    if frame is not None:
        recorded, episode, step = _place(frame)
        name, left_out = frame, episode if data in (None, recorded) else None
        data = data or recorded
        picture = _recorded(recorded, episode, step, camera)
    else:
        assert source is not None
        picture = read_picture(source)
    opened = None if data is None else open_data(data, allow_nan=True, camera=camera)
    try:
        if matches == "match" and opened is None:
            raise UserError("exposure=match needs data=DIR, whose exposure is matched")
        world = None if model is None else _load(model)
        cut = _cut(picture, rotate, crop)
        of_data = (cut.height, cut.width) if opened is None else opened.columns["pixels"][0][:2]
        goal = fit_to_camera(cut, _sized(resize or (of_data if world is None else world.spec.image_size)), name)
        seen = None if opened is None else _Frames(opened, (goal.shape[0], goal.shape[1]), left_out)
        if matches == "match" and seen is not None:
            goal = matched(goal, seen.pixels)
        inside = None if mask is None else polygon(mask, goal.shape[:2])
        _write(goal, out)
        told = [f"{out}: {goal.shape[1]} x {goal.shape[0]} from {name}"]
        if inside is not None:
            beside = out.with_suffix(".mask.png")
            _write(inside.astype(np.uint8) * 255, beside)
            told.append(
                f"{beside}: {100 * inside.mean():.0f} % of it counts (wmplan serve goal={out} goal_mask={beside})"
            )
        if seen is not None:
            told += seen.compare(goal, world)
    finally:
        if opened is not None:
            opened.close()
    return "\n".join(told)


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


class _Frames:
    """Frames from all over a data set, (N, H, W, 3), none of `left_out`, which the goal itself is of."""

    def __init__(self, data: Reader, size: tuple[int, int], left_out: int | None) -> None:
        rng = np.random.default_rng(SEED)
        episodes = [number for number in range(len(data)) if number != left_out] or list(range(len(data)))
        rows = [(number, row) for number in episodes for row in range(int(data.lengths[number]))]
        chosen = rng.choice(len(rows), min(LOOKED_AT, len(rows)), replace=False)
        self.places = sorted(rows[index] for index in chosen)
        self.pixels = np.concatenate([resized(data.read(*_row(place)), *size) for place in self.places])

    def compare(self, goal: NDArray[np.uint8], model: WorldModel | None) -> list[str]:
        """How unlike these frames the goal is, in sentences."""
        level, levels = goal.mean(), self.pixels.mean((1, 2, 3))
        low, high = np.quantile(levels, (0.01, 0.99))
        told = [f"brightness {level:.0f} of 255; 98 % of the data's frames have {low:.0f} to {high:.0f}"]
        if not low - 5 <= level <= high + 5:
            told[-1] += ": it is unlike them (exposure=match)"
        if model is None:
            return [*told, "with model=..., its latent is compared with the data's"]
        latents = _latents(model, np.concatenate([self.pixels, goal[None]]))  # (N + 1, L)
        latents = latents / np.maximum(latents[:-1].std(0), 1e-6) / latents.shape[1] ** 0.5
        to_goal = np.linalg.norm(latents[:-1] - latents[-1], axis=1)
        own = self._own_distances(latents[:-1])
        nearest = int(to_goal.argmin())
        episode, row = self.places[nearest]
        if not len(own):
            return [*told, "the data has one episode, so there is nothing to compare its latent's distance with"]
        usual, beyond = float(np.median(own)), float((own < to_goal[nearest]).mean())
        told.append(
            f"latent: nearest to episode {episode}, step {row}, at {to_goal[nearest]:.2f}; frames of the data have "
            f"{usual:.2f} (median) to the nearest of another episode, and {100 * beyond:.0f} % of them have less"
        )
        if beyond >= UNLIKE:
            told[-1] += ": it is unlike what the model has seen, and plans to it will be poor"
        return told

    def _own_distances(self, latents: NDArray[np.float64]) -> NDArray[np.float64]:
        """From each frame to the nearest of another episode, (N,); none where there is one episode only."""
        import torch

        from wmplan.validation.nearest import nearest_apart

        episodes = np.array([episode for episode, _ in self.places])
        apart = torch.from_numpy(episodes[:, None] != episodes)
        distances = nearest_apart(torch.from_numpy(latents), apart)[0].numpy()
        return distances[np.isfinite(distances)]


def _latents(model: WorldModel, frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Of frames (N, H, W, 3), (N, L): what they show, without the robot's own state."""
    import torch

    spec = model.spec
    if len(spec.cameras) > 1:
        raise UserError(f"model sees {', '.join(spec.cameras)}: one image is no goal for it")
    found = []
    for part in np.array_split(frames, -(-len(frames) // 32)):
        pixels = torch.from_numpy(part)[:, None].to(model.device)
        state = None
        if spec.proprio_dim and not model.reads_proprio:
            state = torch.tensor(spec.proprio_mean, dtype=torch.float32).expand(len(part), 1, -1).to(model.device)
        with torch.inference_mode():
            found.append(model.encode(pixels, state)[:, 0].flatten(1).double().cpu().numpy())
    latents = np.concatenate(found)
    flat = len(spec.latent_shape) == 1 and spec.proprio_dim
    return latents[:, : -spec.proprio_dim] if flat and latents.shape[1] > spec.proprio_dim else latents


def _load(model: str) -> WorldModel:
    from wmplan.models import load

    return load(model)


def _place(frame: str) -> tuple[str, int, int]:
    data, *numbers = frame.rsplit(":", 2)
    if len(numbers) != 2 or not data or not all(number.isdecimal() for number in numbers):
        raise UserError(f"frame must be DATA:EPISODE:STEP, such as data/robot:12:80, got {frame!r}")
    return data, int(numbers[0]), int(numbers[1])


def _recorded(data: str, episode: int, step: int, camera: str | None) -> Image:
    from PIL import Image

    opened = open_data(data, allow_nan=True, camera=camera)
    try:
        if "pixels" not in opened.columns:
            raise DataError(f"{data} has no frames")
        if episode >= len(opened):
            raise UserError(f"frame: {data} has the episodes 0 to {len(opened) - 1}, not {episode}")
        if step >= opened.lengths[episode]:
            raise UserError(f"frame: episode {episode} has the steps 0 to {opened.lengths[episode] - 1}, not {step}")
        return Image.fromarray(opened.read(*_row((episode, step)))[0])
    finally:
        opened.close()


def _row(place: tuple[int, int]) -> tuple[int, str, int, int]:
    return place[0], "pixels", place[1], place[1] + 1


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
