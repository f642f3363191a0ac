"""The stage that teaches where a latent goes when its robot moves and nothing else does.

Nobody has to say which frames these are: within a few model steps of an episode the robot often moves while the rest
stays, and then the two frames differ in the few pixels where the robot was and is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from wmplan.models import JEPA
from wmplan.models.encoders.pixels import differ
from wmplan.training.ranks import WHOLE, Share
from wmplan.training.stage import Batch


def pairs_alike(views: Sequence[Tensor], share: float) -> Tensor:
    """Pairs of frames of a window that differ in few pixels, in every camera: window, one and other, (M, 3).

    Args:
        views: frames uint8 (N, T, H, W, 3), one tensor a camera.
        share: of the pixels, at most.
    """
    time = views[0].shape[1]
    one, other = torch.triu_indices(time, time, 1)
    alike = torch.ones(len(views[0]), len(one), dtype=torch.bool, device=views[0].device)
    for view in views:
        levels = view.to(torch.int16)  # once, not for each pair
        for place, (first, second) in enumerate(zip(one.tolist(), other.tolist(), strict=True)):
            where = differ(levels[:, first], levels[:, second])  # (N, H, W)
            alike[:, place] &= where.flatten(1).float().mean(-1) <= share
    window, pair = torch.nonzero(alike, as_tuple=True)
    return torch.stack([window, one.to(window)[pair], other.to(window)[pair]], -1)


def placed(model: JEPA, batch: Batch, share: float) -> tuple[Tensor, Tensor, Tensor]:
    """Latents (2 M, L) of both frames of each pair, those with the robot where the other has it, and the others'.

    Args:
        batch: the cameras' frames, uint8 (N, T, H, W, 3), and `latent` (N, T, L).
    """
    assert model.placement is not None
    window, one, other = pairs_alike(model.views(batch), share).unbind(-1)
    first, second = batch["latent"][window, one], batch["latent"][window, other]
    here, there = torch.cat([first, second]), torch.cat([second, first])  # (2 M, L)
    return here, model.with_robot_at(here, there[..., model.visual_dim :]), there


def placement_loss(
    model: JEPA, batch: Batch, generator: torch.Generator, share: float, part: Share = WHOLE
) -> tuple[Tensor, dict[str, float]]:
    """Smooth L1 between latents with the robot put elsewhere and those of frames that show it there.

    In one-step changes.

    Args:
        batch: as of placed().
        share: of pixels by which frames may differ that show the robot moved alone.
        part: of the batch that this is.
    """
    _, moved, there = placed(model, batch, share)
    everywhere = part.all_of(len(moved))
    if not len(moved):  # a loss on which the parameters depend
        return moved.sum(), {}
    error = (moved - there) @ model.whitening.T
    weight = part.ranks.world * len(moved) / everywhere
    return weight * F.smooth_l1_loss(error, torch.zeros_like(error)), {}


@torch.no_grad()
def placement_figures(model: JEPA, batch: Batch, share: float) -> dict[str, Any]:
    """How far off held-out latents are whose robot was put elsewhere, beside how far the robot's move took them.

    Medians and 90 % quantiles of the norm, in one-step changes; and the share of pairs of frames in which the robot
    moved alone.

    Args:
        batch: as of placed().
    """
    batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
    here, moved, there = placed(model, batch, share)
    count, time = batch["latent"].shape[:2]
    figures: dict[str, Any] = {"robot_moved_alone": round(len(here) / (count * time * (time - 1)), 3)}
    for name, latents in (("robot_moved", here), ("robot_placed", moved)):
        off = ((latents - there) @ model.whitening.T).norm(dim=-1)
        for statistic, level in (("median", 0.5), ("90", 0.9)):
            figures[f"{name}_{statistic}"] = round(off.quantile(level).item(), 3) if len(off) else None
    return figures
