"""Clips as rows of frames in one picture, with the moment at which the world was exchanged marked."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

AROUND = (-9, -6, -4, -3, -2, -1, 0, 1, 2, 3, 5, 8, 12)
"""Frames that are shown, from the break on."""
GAP = 2
MARK, GROUND = (208, 62, 44), (128, 134, 142)


def film_strip(clips: NDArray[np.uint8], break_at: int, around: Sequence[int] = AROUND) -> NDArray[np.uint8]:
    """A row of frames a clip, those of clips but the first framed from the break on.

    Args:
        clips: (N, T, H, W, 3), the first one possible and the others impossible.
        break_at: the first frame of another world.

    Returns:
        (rows, columns, 3).
    """
    steps = [break_at + step for step in around if 0 <= break_at + step < clips.shape[1]]
    rows = []
    for number, clip in enumerate(clips):
        cells = []
        for step in steps:
            edge = MARK if number and step >= break_at else GROUND
            cell = np.full((clip.shape[1] + 2 * GAP, clip.shape[2] + 2 * GAP, 3), edge, np.uint8)
            cell[GAP:-GAP, GAP:-GAP] = clip[step]
            cells.append(cell)
        rows.append(np.concatenate(cells, axis=1))
    return np.concatenate(rows, axis=0)


def png(picture: NDArray[np.uint8], said: str) -> str:
    """The picture as an <img> element that needs no file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{said}" style="width:100%;image-rendering:pixelated" src="data:image/png;base64,{data}">'
