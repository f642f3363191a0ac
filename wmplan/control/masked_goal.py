"""What a masked goal comes to from here: the inside of its mask put onto the frame of now, and the robot left in sight.

A robot that now stands inside of the mask, as it does where all but its place in the goal image counts, would be
painted over: the goal would show a scene without a robot, which the encoder has never seen, and to which no plan leads.
So the pixels by which the model reads the robot's state off the frame stay as they are now. They are found by asking
it: cells of the frame, one at a time, are taken from the goal, and those that change the reading most are kept, as few
as let it read the robot where it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from wmplan.control.histories import StepObservation, encode
from wmplan.models.base import WorldModel
from wmplan.models.encoders.pixels import differ

CELLS_A_SIDE, MOST_CELLS, MOST_KEPT = 16, 64, 16
"""Cells of a frame; how many are tried, which takes an encoding each (they are larger where more differ), and kept."""
AGREES = 0.085
"""Difference of two readings of a robot's state, root mean square in its deviations over the data, that does not count:
on Push-T, 1 cm, two usual errors of a model step."""

Cameras = dict[str, Tensor]


def put_onto(present: Cameras, goal: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Cameras:
    """Frames (1, 1, H, W, 3) of now with the goal's where a mask (1, 1, H, W, 1) says so, or where there is none."""
    return {
        name: torch.where(masks[name], goal[name], frame) if name in masks else goal.get(name, frame)
        for name, frame in present.items()
    }


def put_together(
    present: StepObservation, goal: Mapping[str, Tensor], masks: Mapping[str, Tensor], proprio: Tensor | None
) -> StepObservation:
    """put_onto() as an observation, with the robot state `proprio` (1, 1, P)."""
    parts = (present.cameras, {**present.cameras, **goal})
    return StepObservation(put_onto(present.cameras, goal, masks), proprio, parts)


@torch.inference_mode()
def without_robot(
    model: WorldModel, present: StepObservation, goal: Mapping[str, Tensor], masks: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The masks (1, 1, H, W, 1) without the pixels that show one robot now, for a model that reads its state.

    Args:
        goal: frames by camera, (1, 1, H, W, 3).
    """
    cells = differing_cells(present.cameras, goal, masks)
    if not cells:
        return dict(masks)
    here = model.read_proprio(encode(model, present))  # (1, P)
    whole = (present.cameras, {**present.cameras, **goal})

    def misread(shown: Sequence[Cameras]) -> Tensor:
        together = {name: torch.cat([one[name] for one in shown]) for name in present.cameras}
        parts = tuple(
            {name: frame.expand(len(shown), *frame.shape[1:]) for name, frame in part.items()} for part in whole
        )
        read = model.read_proprio(encode(model, StepObservation(together, None, parts)))
        return (read - here).square().mean(-1).sqrt()  # (N,)

    influence = misread([put_onto(present.cameras, goal, {**_nowhere(masks), name: cell}) for name, cell in cells])
    kept, tried = _nowhere(masks), []
    for place in influence.argsort(descending=True)[:MOST_KEPT].tolist():
        name, cell = cells[place]
        kept = {**kept, name: kept[name] | cell}
        tried.append({camera: mask & ~grown(kept[camera]) for camera, mask in masks.items()})
    off = misread([put_onto(present.cameras, goal, one) for one in tried])
    agree = torch.nonzero(off <= AGREES)[:, 0]
    return tried[int(agree[0]) if len(agree) else int(off.argmin())]


def differing_cells(
    present: Cameras, goal: Mapping[str, Tensor], masks: Mapping[str, Tensor]
) -> list[tuple[str, Tensor]]:
    """Cells in which the goal differs from now inside of a mask: the camera, and where, (1, 1, H, W, 1)."""
    inside = {name: mask & differ(goal[name], present[name])[..., None] for name, mask in masks.items()}
    side = CELLS_A_SIDE
    while True:
        found = [(name, cell) for name, where in inside.items() for cell in _cells(where, side)]
        if len(found) <= MOST_CELLS or side == 1:
            return found
        side //= 2


def _cells(where: Tensor, side: int) -> list[Tensor]:
    """The parts of a mask (1, 1, H, W, 1) in each of side x side cells of the frame, those that are not empty."""
    height, width = where.shape[2:4]
    rows = torch.arange(height, device=where.device) * side // height
    columns = torch.arange(width, device=where.device) * side // width
    number = (rows[:, None] * side + columns)[None, None, ..., None]  # of each pixel's cell
    return [where & (number == one) for one in number[where].unique()]


def grown(where: Tensor) -> Tensor:
    """A mask (1, 1, H, W, 1) and the pixels next to it: a robot's edge changes a reading little."""
    pixels = where[..., 0].float()
    return F.max_pool2d(pixels, 3, stride=1, padding=1)[..., None] > 0


def _nowhere(masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.zeros_like(mask) for name, mask in masks.items()}
