"""Which entries of the action recorded changes show, and whether predicted changes show them too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wmplan.validation.recordings import Recordings, Window
from wmplan.validation.scale import LatentScale, projected

NUMBERS = 64
"""Of a latent, as a reading sees it."""
NOTICEABLE = 0.05
"""Share of an entry's variance that recorded changes have to show of it, for a prediction to be asked for it."""
MISSED = 0.25
"""Part of what the data shows of an entry that predictions have to show."""

HARM = 0.02
"""Rise of the error with all of an entry shuffled, from which on a prediction depends on it."""


@dataclass(frozen=True)
class EntryUse:
    """One entry of the action, over one model step.

    Attributes:
        entry, name: its number, from 0, and its name.
        in_data: share of its variance that is read off the recorded change, beyond what the latent before and the
            other entries tell of it; linearly and on other episodes, so that more may be there.
        in_model: the same reading of the predicted change.
        error_rise: by how much the squared error rises when the entry is shuffled among the windows, as a share of the
            squared change; 0 where the prediction does not depend on it.
        predicted: false where the data shows the entry, the prediction does not, and shuffling it does no harm either:
            a rough prediction may depend on an entry that is not read off it.
    """

    entry: int
    name: str
    in_data: float
    in_model: float
    error_rise: float

    @property
    def predicted(self) -> bool:
        return self.in_data < NOTICEABLE or self.in_model >= MISSED * self.in_data or self.error_rise >= HARM


@torch.inference_mode()
def action_use(
    recordings: Recordings, windows: Sequence[Window], scale: LatentScale, names: Sequence[str]
) -> list[EntryUse]:
    """How much of each entry of the action is seen and predicted."""
    model, dim = recordings.model, recordings.model.spec.action_dim
    seen, taken, change, predicted = [], [], [], []
    for batch in recordings.batches(windows, 1):
        guess = model.rollout(batch.context, batch.actions[:, None], batch.past)[:, 0, 0]
        seen.append(scale(batch.now))
        taken.append(batch.actions[:, 0])
        change.append(scale(batch.future[:, 0] - batch.now))
        predicted.append(scale(guess - batch.now))
    before, recorded, told = (projected(torch.cat(one), NUMBERS).double().cpu() for one in (seen, change, predicted))
    told = torch.nan_to_num(told, nan=0.0, posinf=1e6, neginf=-1e6)
    means = torch.cat(taken).unflatten(1, (-1, dim)).mean(1).double().cpu()  # (N, a)
    fold = halves(windows)
    rises = error_rises(recordings, windows, scale, torch.cat(taken))
    uses = []
    for entry in range(dim):
        known = torch.cat([before, means[:, torch.arange(dim) != entry]], 1)
        in_data, in_model = readings(known, recorded, told, means[:, entry], fold)
        uses.append(EntryUse(entry, names[entry], in_data, in_model, rises[entry]))
    return uses


def halves(windows: Sequence[Window]) -> Tensor:
    """0 or 1 of each window, (N,), whole episodes on one side; a single episode's windows by turns."""
    of = sorted({one.recording for one in windows})
    if len(of) == 1:
        return torch.arange(len(windows)) % 2
    return torch.tensor([of.index(one.recording) % 2 for one in windows])


def readings(known: Tensor, change: Tensor, predicted: Tensor, entry: Tensor, fold: Tensor) -> tuple[float, float]:
    """Shares of an entry's variance read off recorded and predicted changes, beyond what is known without them.

    Args:
        known: (N, F); change, predicted: (N, D).
        entry: (N,).
        fold: the side of each row, (N,): what is fitted on one is read on the other.
    """
    spread = float(entry.var())
    if spread < 1e-12:
        return 0.0, 0.0
    wrong = torch.zeros(3, dtype=torch.float64)
    for side in (0, 1):
        fit, read = fold != side, fold == side
        both = [torch.cat([known, one], 1) for one in (change, predicted)]
        alone = Ridge(known[fit], entry[fit])
        full = Ridge(both[0][fit], entry[fit])
        guesses = (alone(known[read]), full(both[0][read]), full(both[1][read]))
        wrong += torch.stack([(guess - entry[read]).square().sum() for guess in guesses])
    without, in_data, in_model = (1 - wrong / (len(entry) * spread)).tolist()
    base = max(0.0, without)
    return max(0.0, in_data - base), max(0.0, in_model - base)


class Ridge:
    """A ridge regression of y (N,) on x (N, F), called with further x."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.centre, self.spread = x.mean(0), x.std(0).clamp(min=1e-9)
        self.middle = y.mean()
        scaled = (x - self.centre) / self.spread
        penalty = 1e-2 * len(x) ** 0.5 * torch.eye(x.shape[1], dtype=x.dtype)
        self.weights = torch.linalg.solve(scaled.T @ scaled + penalty, scaled.T @ (y - self.middle))

    def __call__(self, x: Tensor) -> Tensor:
        return self.middle + (x - self.centre) / self.spread @ self.weights


def error_rises(recordings: Recordings, windows: Sequence[Window], scale: LatentScale, taken: Tensor) -> list[float]:
    """For each entry, the rise of the squared error with it shuffled, over the squared change."""
    model, dim = recordings.model, recordings.model.spec.action_dim
    order = torch.randperm(len(taken), generator=torch.Generator().manual_seed(recordings.seed)).to(taken.device)
    options = [taken] + [taken.clone() for _ in range(dim)]
    for entry in range(dim):
        options[1 + entry][:, entry::dim] = taken[order][:, entry::dim]
    every, begin, errors, change = torch.stack(options, 1), 0, [], 0.0  # (N, 1 + a, A)
    for batch in recordings.batches(windows, 1):
        part = every[begin : begin + len(batch.now), :, None]  # (n, 1 + a, 1, A)
        wrong = model.rollout(batch.context, part, batch.past)[:, :, 0] - batch.future  # (n, 1 + a, *latent)
        errors.append(scale.square(wrong.flatten(0, 1)).unflatten(0, part.shape[:2]).double())
        change += float(scale.square(batch.future[:, 0] - batch.now).double().sum())
        begin += len(batch.now)
    found = torch.cat(errors).mean(0)  # (1 + a,)
    if not bool(torch.isfinite(found).all()) or change == 0:
        return [0.0] * dim
    return ((found[1:] - found[0]) * len(taken) / change).tolist()
