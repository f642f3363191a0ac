"""The stage that teaches what hidden things are like: frames behind a strip, whose latents without it are known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from wmplan.models import JEPA
from wmplan.training.ranks import WHOLE, Share
from wmplan.training.stage import Batch

OPEN = 0.2
"""Share of the windows in which nothing is ever hidden."""


def hidden_frames(rows: int, frames: int, generator: torch.Generator, share: Share = WHOLE) -> Tensor:
    """Which frames of windows stand behind their strip, (N, T) of true and false: an interval of each, or none.

    Any interval is as likely as any other of its length, and any length as any other up to all frames but one.
    """
    drawn = share.own(torch.rand(rows if share.alone else share.total, 3, generator=generator))  # (N, 3)
    length = (drawn[:, 0] * (frames - 1)).floor() + 1
    first = (drawn[:, 1] * (frames - length + 1)).floor()
    time = torch.arange(frames)
    hidden = (time >= first[:, None]) & (time < (first + length)[:, None])
    return hidden & (drawn[:, 2:] >= OPEN)


def beliefs(model: JEPA, latents: Tensor, actions: Tensor) -> Tensor:
    """What is believed of each frame of windows, (N, T, L), from latents (N, T, L) and actions (N, T - 1, A)."""
    assert model.memory is not None
    believed = model.memory.beliefs(latents, actions, model.predicts_next)
    return torch.stack([one.latents[:, -1] for one in believed], 1)


def memory_loss(
    model: JEPA, batch: Batch, generator: torch.Generator, share: Share = WHOLE
) -> tuple[Tensor, dict[str, float]]:
    """Smooth L1 between what is believed of frames, some behind a strip, and their latents without it.

    In one-step changes. The first frame counts for nothing: it is believed as it is seen.

    Args:
        batch: `latent` and `hidden` (N, T, L), latents without the strip and with it, and `action` (N, T - 1, A).
        share: of the batch that this is.
    """
    latents = batch["latent"]
    where = hidden_frames(latents.shape[0], latents.shape[1], generator, share).to(latents.device)
    seen = torch.where(where[..., None], batch["hidden"], latents)
    error = (beliefs(model, seen, batch["action"]) - latents)[:, 1:] @ model.whitening.T
    return share.weight * F.smooth_l1_loss(error, torch.zeros_like(error)), {}


@torch.no_grad()
def memory_figures(model: JEPA, batch: Batch) -> dict[str, Any]:
    """How far off held-out latents are of frames behind a strip, as they are seen and as they are believed.

    Root mean squares in one-step changes, after 1, 3 and 5 hidden frames as far as windows reach; and what is believed
    of windows in which nothing is hidden. The frames before are in the open.

    Args:
        batch: as of memory_loss().
    """
    latents, hidden, actions = (batch[name].to(model.device) for name in ("latent", "hidden", "action"))
    frames = latents.shape[1]
    figures: dict[str, Any] = {}

    def off(found: Tensor, frame: int) -> float:
        return round((((found - latents)[:, frame]) @ model.whitening.T).square().mean().sqrt().item(), 4)

    for count in (1, 3, 5):
        first = frames - count
        if first < 1:
            break
        seen = torch.cat([latents[:, :first], hidden[:, first:]], 1)
        figures[f"hidden_{count}_seen"] = off(seen, -1)
        figures[f"hidden_{count}_believed"] = off(beliefs(model, seen, actions), -1)
    figures["open_believed"] = off(beliefs(model, latents, actions), -1)
    return figures
