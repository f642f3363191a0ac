"""How often a model is surprised by what is usual, so that a threshold means a share of false alarms."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wmplan.control.surprise import standardised_error
from wmplan.evaluation.surprise import threshold
from wmplan.validation.recordings import Recordings

FALSE_ALARMS = 0.05


@dataclass(frozen=True)
class SurpriseRate:
    """Standardised one-step errors of recorded frames: 1 is what the model takes for usual (error_scale).

    Attributes:
        frames: that were predicted.
        above_usual: share of them above 1.
        median: of them.
        threshold: passed by 5 % of the frames.
        threshold_episode: passed at any time of 5 % of the episodes.
        by_episode: the largest of each episode.
    """

    frames: int
    above_usual: float
    median: float
    threshold: float
    threshold_episode: float
    by_episode: list[float]


@torch.inference_mode()
def surprise_rate(recordings: Recordings) -> SurpriseRate | None:
    """The errors of every frame that a whole context precedes; None for a model that does not know its usual error."""
    model = recordings.model
    if model.error_scale is None:
        return None
    windows = sorted(recordings.windows(1))
    parts = []
    for batch in recordings.batches(windows, 1):
        predicted = model.rollout(batch.context, batch.actions[:, None], batch.past)[:, 0, 0]
        parts.append(standardised_error(predicted - batch.future[:, 0], model.error_scale).double().cpu())
    values = torch.nan_to_num(torch.cat(parts), nan=torch.inf)
    of = torch.tensor([one.recording for one in windows])
    episodes = [values[of == number].tolist() for number in sorted(set(of.tolist()))]
    return SurpriseRate(
        frames=len(values),
        above_usual=float((values > 1).double().mean()),
        median=float(values.median()),
        threshold=float(torch.quantile(values, 1 - FALSE_ALARMS, interpolation="higher")),
        threshold_episode=threshold(episodes, FALSE_ALARMS),
        by_episode=[max(one) for one in episodes],
    )
