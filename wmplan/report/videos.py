"""Episodes as small mp4 films: the camera beside the goal image, with the step and whether the goal is reached."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wmplan.errors import UserError

Image = NDArray[np.uint8]

PANEL_PX = 256
"""Least height of a panel: frames are enlarged by the smallest whole factor that reaches it."""
MARGIN_PX = 12
BAR_PX = 28
INK, PAPER, FAINT, GREEN = (235, 238, 242), (24, 27, 33), (140, 147, 158), (64, 200, 120)


def enlargement(height: int) -> int:
    """The factor by which a frame of that height is enlarged."""
    return max(1, -(-PANEL_PX // height))


def film_frame(panels: Mapping[str, Image], caption: str = "", *, reached: bool = False) -> Image:
    """One picture of a film: titled panels side by side on a dark ground, a caption below.

    Args:
        panels: title -> uint8 RGB picture (H, W, 3), all of one size.
        caption: a few words for the bottom line.
        reached: draw the success marker: a green frame around the first panel, and "goal reached".

    Returns:
        uint8 RGB picture with even height and width, as video codecs want it.

    Raises:
        ValueError: if the panels differ in size or are not uint8 RGB.
    """
    from PIL import Image as Picture
    from PIL import ImageDraw, ImageFont

    pictures = list(panels.values())
    shape = pictures[0].shape
    for title, picture in panels.items():
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or picture.shape != shape:
            raise UserError(f"panel {title!r} must be uint8 {shape[:2]} RGB, got {picture.dtype} {picture.shape}")
    factor = enlargement(shape[0])
    height, width = shape[0] * factor, shape[1] * factor
    total_width = MARGIN_PX + len(pictures) * (width + MARGIN_PX)
    total_height = BAR_PX + height + BAR_PX
    canvas = Picture.new("RGB", (total_width + total_width % 2, total_height + total_height % 2), PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=14)
    for index, (title, picture) in enumerate(panels.items()):
        left = MARGIN_PX + index * (width + MARGIN_PX)
        enlarged = picture.repeat(factor, axis=0).repeat(factor, axis=1)  # nearest neighbour
        canvas.paste(Picture.fromarray(enlarged), (left, BAR_PX))
        draw.text((left, BAR_PX / 2), title, FAINT, font, anchor="lm")
        if reached and index == 0:
            draw.rectangle((left - 4, BAR_PX - 4, left + width + 3, BAR_PX + height + 3), outline=GREEN, width=4)
    baseline = BAR_PX + height + BAR_PX / 2
    draw.text((MARGIN_PX, baseline), caption, INK, font, anchor="lm")
    if reached:
        draw.text((total_width - MARGIN_PX, baseline), "goal reached", GREEN, font, anchor="rm")
    return np.asarray(canvas)


def episode_film(
    frames: Sequence[Image],
    goal: Image,
    *,
    success_step: int | None = None,
    imagined: Sequence[Image] | None = None,
    hold: int = 5,
) -> list[Image]:
    """The pictures of an episode's film: one a frame, and the last one `hold` times more so that the end can be seen.

    Args:
        frames: what the camera saw before each robot step and after the last, each (H, W, 3).
        goal: the goal image (H, W, 3).
        success_step: the first robot step after which the goal was reached, None if never; from the frame of that
            index on the success marker is drawn.
        imagined: for each frame, the end of the plan at that time as the model imagines it.
    """
    pictures = []
    for step, frame in enumerate(frames):
        panels = {"camera": frame, "goal": goal}
        if imagined is not None:
            panels["imagined end of the plan"] = imagined[step]
        reached = success_step is not None and step >= success_step
        pictures.append(film_frame(panels, f"step {step} of {len(frames) - 1}", reached=reached))
    return pictures + pictures[-1:] * hold


def write_mp4(path: Path, frames: Iterable[Image], fps: float = 10.0) -> Path:
    """H.264 film that browsers play, under a temporary name until it is complete and synced.

    Args:
        frames: uint8 RGB pictures (H, W, 3) of one size, with even height and width.

    Raises:
        ValueError: if there is no frame, or one of another size than the first.
    """
    import imageio_ffmpeg

    path = Path(path)
    pending = iter(frames)
    first = next(pending, None)
    if first is None:
        raise UserError(f"no frames to write to {path}")
    height, width = first.shape[:2]
    if height % 2 or width % 2:
        raise UserError(f"frames are {height} x {width}, the codec wants both even")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial.mp4")
    writer = imageio_ffmpeg.write_frames(
        str(temporary),
        (width, height),
        fps=fps,
        codec="libx264",
        macro_block_size=2,
        # Flat colours and hard edges: a quality at which pixels stay exact to the eye still costs only some kilobytes.
        quality=None,
        output_params=["-crf", "20", "-preset", "veryfast", "-threads", "1", "-movflags", "+faststart"],
    )
    try:
        writer.send(None)
        frame: Image | None = first
        while frame is not None:
            if frame.shape != first.shape:
                raise UserError(f"a frame is {frame.shape}, the first one {first.shape}")
            writer.send(np.ascontiguousarray(frame))
            frame = next(pending, None)
        writer.close()
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        writer.close()
        temporary.unlink(missing_ok=True)
    return path
