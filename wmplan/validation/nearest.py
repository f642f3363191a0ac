"""Nearest neighbours of latents: how far goals lie from the data, and whether alike latents come from alike frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wmplan.validation.recordings import Recordings
from wmplan.validation.scale import LatentScale, projected

NUMBERS = 256
"""Of a latent, as distances are measured; larger ones are projected."""


@dataclass(frozen=True)
class GoalDistance:
    """One goal image.

    Attributes:
        goal: its file.
        distance: to the nearest recorded frame's latent.
        share: of the recorded frames that lie as far from those of other episodes, or farther; 0 is foreign.
    """

    goal: str
    distance: float
    share: float


@dataclass(frozen=True)
class Neighbours:
    """Latents as goal images are encoded, in units of one step's usual change.

    Attributes:
        frames: that were compared.
        median, p95: distance of a frame to the nearest one of another episode, whichever has more.
        agreement: how alike the frames of nearest latents are: 1 as alike as any two frames, 0 as frames at random.
        goals: of the goal images.
    """

    frames: int
    median: float
    p95: float
    agreement: float
    goals: list[GoalDistance]


@torch.inference_mode()
def neighbours(
    recordings: Recordings, scale: LatentScale, goals: Tensor | None = None, names: Sequence[str] = ()
) -> Neighbours:
    """Compare every frame with those of other episodes, and goals (G, *latent) with all.

    With one episode alone, a frame's neighbours are those at least five model steps away.
    """
    latents = torch.cat([one.goals for one in recordings.recordings])
    every = in_few(scale, latents)
    apart = other_episode(recordings)  # (F, F)
    nearest, which = nearest_apart(every, apart)
    kept = torch.isfinite(nearest)
    found: list[GoalDistance] = []
    if goals is not None:
        reached = torch.cdist(in_few(scale, goals), every).min(1).values
        shares = [float((nearest[kept] >= one).double().mean()) if bool(kept.any()) else 0.0 for one in reached]
        found = [GoalDistance(*one) for one in zip(names, reached.tolist(), shares, strict=True)]
    usual = nearest[kept] if bool(kept.any()) else torch.tensor([torch.inf])
    median, p95 = torch.quantile(usual, torch.tensor([0.5, 0.95], dtype=usual.dtype)).tolist()
    return Neighbours(len(every), median, p95, agreement(recordings, apart, which, kept), found)


def nearest_apart(rows: Tensor, apart: Tensor) -> tuple[Tensor, Tensor]:
    """Distance of each of the rows (F, N) to the nearest of those that are apart from it, and which that is, (F,) each.

    Args:
        apart: which rows count as neighbours of which, (F, F); a row without any is infinitely far.
    """
    nearest, which = torch.cdist(rows, rows).masked_fill(~apart, torch.inf).min(1)
    return nearest, which


def in_few(scale: LatentScale, latents: Tensor) -> Tensor:
    """Latents (F, *latent) as rows of few numbers, on the CPU, so that distances are in the scale's units."""
    values = scale(latents)
    values = torch.nan_to_num(values, nan=0.0, posinf=1e6, neginf=-1e6)
    return projected(values, NUMBERS).double().cpu() / values.shape[1] ** 0.5


def other_episode(recordings: Recordings) -> Tensor:
    """Which frames count as neighbours of which, (F, F)."""
    lengths = [len(one.latents) for one in recordings.recordings]
    if len(lengths) == 1:
        place = torch.arange(lengths[0])
        return (place[:, None] - place).abs() >= 5
    of = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    return of[:, None] != of


def agreement(recordings: Recordings, apart: Tensor, nearest: Tensor, kept: Tensor) -> float:
    """How alike the frames of nearest latents are, between chance (0) and the most alike frames that there are (1)."""
    small = torch.cat([one.small for one in recordings.recordings])
    pixels = torch.cdist(small, small)
    best = pixels.masked_fill(~apart, torch.inf).min(1).values
    chance = (pixels * apart).sum(1) / apart.sum(1).clamp(min=1)
    own = pixels.gather(1, nearest[:, None])[:, 0]
    room = float((chance - best)[kept].sum())
    return 1.0 if room <= 0 else max(0.0, 1.0 - float((own - best)[kept].sum()) / room)
