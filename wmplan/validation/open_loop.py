"""Open-loop error by horizon, against predicting with no action and against copying the last frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wmplan.models.base import ModelSpec
from wmplan.validation.recordings import Recordings, Window
from wmplan.validation.scale import LatentScale


@dataclass(frozen=True)
class OpenLoop:
    """Root mean square errors of predicted latents by model step, in units of one step's usual change.

    Attributes:
        windows: that were predicted.
        error: with the recorded actions.
        idle: with idle actions, see idle_action().
        copy: of the newest frame's latent, unchanged.
        ratio: error over copy: 0 where all is predicted, 1 as bad as saying that nothing moves.
    """

    windows: int
    error: list[float]
    idle: list[float]
    copy: list[float]

    @property
    def ratio(self) -> list[float]:
        return [over(error, copy) for error, copy in zip(self.error, self.copy, strict=True)]


def over(error: float, change: float) -> float:
    """error / change; 0 where both are."""
    return 0.0 if error == 0 else error / change if change > 0 else float("inf")


def idle_action(spec: ModelSpec) -> Tensor:
    """Doing nothing for one model step, (A,): zero, or the mean of an entry whose bounds leave zero out."""
    entries = zip(spec.action_low, spec.action_high, spec.action_mean, strict=True)
    return torch.tensor([0.0 if low <= 0 <= high else mean for low, high, mean in entries]).repeat(spec.action_block)


@torch.inference_mode()
def open_loop(recordings: Recordings, windows: Sequence[Window], scale: LatentScale) -> OpenLoop:
    """Predict `recordings.steps` model steps of the windows."""
    model, steps = recordings.model, recordings.steps
    totals = torch.zeros(3, steps, dtype=torch.float64)
    for batch in recordings.batches(windows, steps):
        idle = idle_action(model.spec).to(batch.actions).expand_as(batch.actions)
        predicted = model.rollout(batch.context, torch.stack([batch.actions, idle], 1), batch.past)  # (N, 2, K, ...)
        for row, guess in enumerate((predicted[:, 0], predicted[:, 1], batch.now[:, None].expand_as(batch.future))):
            squares = scale.square((guess - batch.future).flatten(0, 1)).unflatten(0, (-1, steps))  # (N, K)
            totals[row] += squares.double().sum(0).cpu()
    error, idle_error, copy = (totals / len(windows)).sqrt().tolist()
    return OpenLoop(len(windows), error, idle_error, copy)
