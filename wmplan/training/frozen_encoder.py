"""What a joint stage gives a model beside its encoder, where there is none: the latents' scale, and the robot's state.

A frozen encoder's latents have a scale of their own, and its model a head for proprioception that nothing has trained.
Both are made here, of latents that are encoded once.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wmplan.checked import check, write_checked
from wmplan.models import JEPA
from wmplan.training.identity import require_made_from

STEPS, BATCH_SIZE, CHECK_EVERY = 3000, 256, 100
"""Of the head's fit, which takes seconds: no run waits for it, and none needs other settings."""
STILL = 1e-3
"""Share of the largest deviation below which a number of the latent counts as still: what it shows is rounding."""
READ = 0.5
"""Share of its variance that has to be read of a number of the robot's state for a goal's image to tell it."""
MOST_ROWS = 200_000
"""Rows that scale and head are made of at most: whole episodes, evenly from the training ones."""


def some_episodes(latents: NDArray[np.float32], starts: Sequence[int], lengths: Sequence[int]) -> list[Tensor]:
    """Latents (rows, L) of each of some episodes, not more than MOST_ROWS in all unless a single one has more.

    Args:
        latents: of the whole data set, (rows, L).
        starts, lengths: of the episodes to choose from.
    """
    stride = max(1, -(-sum(lengths) // MOST_ROWS))
    spans = list(zip(starts, lengths, strict=True))[::stride]
    return [torch.from_numpy(latents[start : start + length]) for start, length in spans]


def learns(encoder: nn.Module) -> bool:
    """Whether training would change anything in an encoder."""
    return any(parameter.requires_grad for parameter in encoder.parameters())


def standardise_latents(model: JEPA, latents: NDArray[np.float32], rows: Tensor) -> None:
    """Set the model's visual_mean and visual_std so that visual latents have mean 0 and deviation 1, and follow suit.

    Args:
        latents: of the whole data set, (rows, L), as the model encodes now; changed in place.
        rows: those of training episodes, (N, L).
    """
    visual = rows[:, : model.visual_dim].double()
    mean, std = visual.mean(0), visual.std(0, correction=0)
    std = torch.where(std > STILL * std.max(), std, std.max() if std.max() > 0 else torch.ones_like(std))
    part = latents[:, : model.visual_dim]
    part -= mean.float().numpy()
    part /= std.float().numpy()
    model.visual_mean += (mean * model.visual_std.cpu()).float().to(model.device)
    model.visual_std *= std.float().to(model.device)


def fit_proprio_head(model: JEPA, episodes: list[Tensor], path: Path, made_from: Mapping[str, Any], seed: int) -> None:
    """Fit the model's head from visual latents to the standardised robot state, or read it from the file where it is.

    Every tenth episode is kept apart; the head that reads these best is taken, so that few episodes are not learnt by
    heart.

    Args:
        episodes: latents (rows, L) of training episodes, their robot states among them.
        path: of the file.
        made_from: what the fit depends on, as JSON has it.

    Raises:
        UserError: where the file is damaged or was made from something else.
    """
    head = model.proprio_head
    assert head is not None
    if path.exists():
        require_made_from(path, check(path), made_from)
        head.load_state_dict(torch.load(path, weights_only=True))
        return
    kept = episodes[::10]
    fitted = torch.cat([one for index, one in enumerate(episodes) if index % 10] or kept)
    fit(head.cpu(), *sides(model, fitted), *sides(model, torch.cat(kept)), seed)
    head.to(model.device)
    content = io.BytesIO()
    torch.save(head.state_dict(), content)
    write_checked(path, lambda file: file.write(content.getbuffer()), made_from)


def sides(model: JEPA, latents: Tensor) -> tuple[Tensor, Tensor]:
    """What the head reads, and what it should: (N, r) and (N, P) of latents (N, L)."""
    return latents[:, : model.visual_dim][:, model.robot.cpu()], latents[:, model.visual_dim :]


def fit(head: nn.Module, inputs: Tensor, wanted: Tensor, kept: Tensor, kept_wanted: Tensor, seed: int) -> None:
    """Least squares by AdamW with a cosine decay, from new weights; the best on what is kept apart stays."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in head.modules():
            if isinstance(layer, nn.Linear):
                bound = layer.in_features**-0.5
                for parameter in (layer.weight, layer.bias):
                    nn.init.uniform_(parameter, -bound, bound, generator=generator)
    head.requires_grad_(True)
    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    best, least = {}, torch.inf
    for step in range(1, STEPS + 1):
        chosen = torch.randint(len(inputs), (min(BATCH_SIZE, len(inputs)),), generator=generator)
        loss = (head(inputs[chosen]) - wanted[chosen]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % CHECK_EVERY == 0:
            with torch.no_grad():
                error = float((head(kept) - kept_wanted).square().mean())
            if error < least:
                least, best = error, {name: tensor.clone() for name, tensor in head.state_dict().items()}
    if best:  # none where no error is finite
        head.load_state_dict(best)


def told(figures: Mapping[str, Mapping[str, float]]) -> str:
    """The figures in a line, and what cannot be read."""
    read = [f"{name} {one['r2']:.2f} (median error {one['median_error']:g})" for name, one in figures.items()]
    line = f"the robot's state, read off held-out frames, as a share of its variance: {', '.join(read)}"
    unread = [name for name, one in figures.items() if one["r2"] < READ]
    if unread:
        line += f"; goals given as images alone do not tell {', '.join(unread)}: give their proprio with them"
    return line
