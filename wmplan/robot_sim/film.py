"""The film of a run: the world, what the controller saw of it, the goal, and below them how the loop is doing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmplan.report.videos import FAINT, GREEN, INK, MARGIN_PX, PAPER, Image, enlargement, film_frame

LINE_PX = 19
AMBER, RED = (235, 180, 70), (235, 90, 80)
STATE_COLOURS = {"FOLLOW": GREEN, "HOLD": AMBER, "SAFE_STOP": RED}


@dataclass(frozen=True, eq=False)
class Shot:
    """What one picture of the film shows.

    Attributes:
        moment: seconds from the start of the episode.
        physics: full state of the simulator, of shape (N,).
        seen: the frame that the controller acted on, uint8 (H, W, 3).
        action: what was sent, of shape (a,).
        state: of the controller.
        figures: name -> value, as they are to be read.
        faults: names of those that last.
        reached: whether the goal had been reached by then.
    """

    moment: float
    physics: NDArray[np.float64]
    seen: Image
    action: NDArray[np.float32]
    state: str
    figures: dict[str, str]
    faults: Sequence[str]
    reached: bool


def draw_shot(shot: Shot, world: Image, goal: Image, caption: str) -> Image:
    """The picture: three panels, and below them the state of the controller, its figures and the faults.

    Args:
        world: the scene at the shot's time, uint8 (H, W, 3) of a size that a whole factor brings the frame to.
        goal: the goal, of the frame's size.
    """
    from PIL import Image as Picture
    from PIL import ImageDraw, ImageFont

    factor = world.shape[0] // shot.seen.shape[0]
    seen, wanted = (one.repeat(factor, axis=0).repeat(factor, axis=1) for one in (shot.seen, goal))
    panels = {"the robot": world, "what the controller sees": seen, "goal": wanted}
    top = film_frame(panels, f"{caption}, {shot.moment:5.2f} s", reached=shot.reached)

    font = ImageFont.load_default(size=13)
    columns = 3
    rows = -(-len(shot.figures) // columns)
    height = (rows + 2) * LINE_PX + MARGIN_PX
    canvas = Picture.new("RGB", (top.shape[1], top.shape[0] + height + height % 2), PAPER)
    canvas.paste(Picture.fromarray(top))
    draw = ImageDraw.Draw(canvas)
    line = top.shape[0] + LINE_PX / 2
    draw.text((MARGIN_PX, line), shot.state, STATE_COLOURS.get(shot.state, INK), font, anchor="lm")
    action = "action " + " ".join(f"{value:+.3f}" for value in shot.action)
    draw.text((MARGIN_PX + 100, line), action, INK, font, anchor="lm")
    width = (top.shape[1] - 2 * MARGIN_PX) // columns
    for index, (name, value) in enumerate(shot.figures.items()):
        left = MARGIN_PX + (index % columns) * width
        at = line + (1 + index // columns) * LINE_PX
        draw.text((left, at), name, FAINT, font, anchor="lm")
        draw.text((left + width - 2 * MARGIN_PX, at), value, INK, font, anchor="rm")
    if shot.faults:
        said = "fault: " + ", ".join(name.replace("_", " ") for name in shot.faults)
        draw.text((MARGIN_PX, line + (rows + 1) * LINE_PX), said, RED, font, anchor="lm")
    return np.asarray(canvas)


def world_size(seen: Image) -> tuple[int, int]:
    """The size to draw the scene at: that of the frame in a panel."""
    factor = enlargement(seen.shape[0])
    return seen.shape[0] * factor, seen.shape[1] * factor
