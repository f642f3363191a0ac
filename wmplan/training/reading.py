"""The stage that trains a reader of the robot's state for goals, on frames with the states that were measured there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from wmplan.data.varied_frames import varied
from wmplan.models import JEPA
from wmplan.training.precision import bfloat16_products
from wmplan.training.ranks import WHOLE, Share
from wmplan.training.stage import Batch

VARIED_SHARE = 0.3
"""Of a batch: frames of worlds that look otherwise, where the data holds them."""


def reader_loss(
    model: JEPA, batch: Batch, generator: torch.Generator, bfloat16: bool = False, share: Share = WHOLE
) -> tuple[Tensor, dict[str, float]]:
    """Huber loss of the standardised states that are read.

    Args:
        batch: the cameras' frames, uint8 (N, 1, H, W, 3), `proprio` (N, 1, P), and maybe `pixels_varied`, say, of all.
        bfloat16: multiply in bfloat16.
        share: of the batch that this is.
    """
    frames = [view[:, 0] for view in model.views(batch)]
    if others := varied_views(model, batch):
        rows = len(frames[0])
        count = share.of_first(round(VARIED_SHARE * (rows if share.alone else share.total)), rows)
        frames = [torch.cat([other[:count], one[count:]]) for other, one in zip(others, frames, strict=True)]
    with bfloat16_products(bfloat16, frames[0].device):
        states = read(model, frames)
    return share.weight * F.huber_loss(states.float(), model.normalise_proprio(batch["proprio"][:, 0])), {}


def varied_views(model: JEPA, batch: Batch) -> list[Tensor]:
    """The second frames (N, H, W, 3), one tensor a camera; none unless every camera has them."""
    names = [varied(camera) for camera in model.spec.cameras]
    return [batch[name][:, 0] for name in names] if all(name in batch for name in names) else []


def read(model: JEPA, frames: list[Tensor]) -> Tensor:
    """Standardised states (N, P) of frames (N, H, W, 3), one tensor a camera."""
    assert model.reader is not None
    states: Tensor = model.reader(frames)
    return states


@torch.no_grad()
def reader_figures(model: JEPA, batch: Batch) -> dict[str, Any]:
    """How far off held-out states are read, in the robot's units: the median of each number, from "1" on, and the 90 %
    quantile.

    Args:
        batch: as of reader_loss().
    """
    batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
    looks = {"": [view[:, 0] for view in model.views(batch)]}
    if others := varied_views(model, batch):
        looks["_varied"] = others
    figures: dict[str, Any] = {}
    for look, frames in looks.items():
        off = (read(model, frames) - model.normalise_proprio(batch["proprio"][:, 0])).abs() * model.proprio_std
        for name, share in (("median", 0.5), ("90", 0.9)):
            quantiles = off.quantile(share, dim=0).tolist()
            figures[f"misread{look}_{name}"] = {str(i): round(one, 4) for i, one in enumerate(quantiles, start=1)}
    return figures
