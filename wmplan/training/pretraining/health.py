"""How a pretraining run is doing: what its features hold, how far the target lags, and why they collapsed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wmplan.models.video_jepa import VideoJEPA, pooled
from wmplan.training.losses import effective_rank
from wmplan.training.measures import medians, probe_errors
from wmplan.training.precision import bfloat16_products

ENCODED_AT_ONCE = 128
CELLS = 2
"""Parts a side of the features that the probe reads."""
THUMBNAIL = 8
"""Pixels a side of the frames that tell how much there is to see."""
COLLAPSED_RANK, COLLAPSED_SPREAD = 0.25, 0.1
"""Of what the untrained network has: features below either are collapsed."""
LEAST_LAG = 1e-3
"""Distance of the target from the encoder, of the encoder's size, below which it is no target of its own."""
RISEN = 1.5
"""Of the lowest loss so far: a loss that fell and rose again."""


@torch.no_grad()
def encode_frames(model: VideoJEPA, frames: NDArray[np.uint8], bfloat16: bool = False) -> Tensor:
    """Features (N, parts, D) of single frames (N, H, W, 3): means over parts of the image.

    Each frame stands still for the frames of a token.
    """
    device = model.encoder.embed.weight.device
    parts = []
    for start in range(0, len(frames), ENCODED_AT_ONCE):
        clips = torch.from_numpy(frames[start : start + ENCODED_AT_ONCE]).to(device)[:, None]
        with bfloat16_products(bfloat16, device):
            tokens = model.tokens(clips)
        parts.append(pooled(tokens.float(), CELLS).unflatten(1, (-1, tokens.shape[-1])).cpu())
    return torch.cat(parts)


def feature_figures(features: Tensor) -> dict[str, float]:
    """How many dimensions the mean features (N, D) of frames use, and how far they spread: the mean deviation."""
    return {"effective_rank": round(effective_rank(features), 2), "spread": round(float(features.std(0).mean()), 5)}


def relative_probe_errors(
    features: Tensor, states: Tensor, held: Tensor, held_states: Tensor, names: tuple[str, ...]
) -> dict[str, float]:
    """Median errors of a linear probe of the states, over those of a probe that sees nothing: 1 knows nothing."""
    blind = torch.zeros(len(features), 1), torch.zeros(len(held), 1)
    read, guessed = (
        medians(probe_errors(seen, states, unseen, held_states, names, "ridge"), names)
        for seen, unseen in ((features, held), blind)
    )
    return {name: round(read[name] / max(guessed[name], 1e-9), 4) for name in names}


@torch.no_grad()
def lag(target: nn.Module, encoder: nn.Module) -> float:
    """Distance of the target's weights from the encoder's, over the size of these."""
    apart = sum(float((a - b).square().sum()) for a, b in zip(target.parameters(), encoder.parameters(), strict=True))
    size = sum(float(weight.square().sum()) for weight in encoder.parameters())
    return round((apart / max(size, 1e-30)) ** 0.5, 6)


def thumbnail_rank(frames: NDArray[np.uint8]) -> float:
    """Effective rank of the frames (N, H, W, 3) themselves, made small: what there is to tell apart."""
    small = nn.functional.adaptive_avg_pool2d(torch.from_numpy(frames).movedim(-1, 1).float(), THUMBNAIL)
    return effective_rank(small.flatten(1))


def is_collapsed(figures: Mapping[str, Any], untrained: Mapping[str, Any]) -> bool:
    """Whether features use much fewer dimensions, or spread much less, than those of the untrained network."""
    few = figures["effective_rank"] < max(1.2, COLLAPSED_RANK * untrained["effective_rank"])
    return bool(few or figures["spread"] < COLLAPSED_SPREAD * untrained["spread"])


def likely_cause(
    figures: Mapping[str, Any],
    losses: Sequence[float],
    *,
    objective: str,
    momentum: float | None,
    learning_rate: float,
    sigreg: float,
) -> str:
    """Why features collapsed, and what to change, in one line.

    Args:
        figures: of the present report: thumbnail_rank, lag and hidden among them.
        losses: of all reports so far.
        momentum: of the moving average at present; None where there is none.
    """
    if figures["thumbnail_rank"] < 1.5:
        return "the frames hardly differ from each other: look at the data, or take a larger stride"
    if momentum is None and sigreg < 0.05:
        return f"sigreg={sigreg:g} is too little to keep features apart: take .1 to .5"
    if momentum is not None and figures["lag"] < LEAST_LAG and momentum < 0.99:
        wanted = "above .999" if objective == "vjepa" else ".99 to .9995"
        return f"the target follows the encoder at once, momentum is {momentum:g}: take {wanted}"
    if figures["hidden"] < 0.1:
        return (
            f"the masks hide {100 * figures['hidden']:.0f} % of the tokens, which their neighbours give away: hide more"
        )
    if len(losses) > 2 and losses[-1] > RISEN * min(losses):
        slower = "a lower learning_rate" if momentum is None else "a lower learning_rate, or a momentum nearer to 1"
        return f"the loss fell to {min(losses):.3g} and rose to {losses[-1]:.3g}: take {slower}"
    if momentum is None:
        return f"take a larger sigreg than {sigreg:g}, or a lower learning_rate than {learning_rate:g}"
    return f"take a momentum nearer to 1 than {momentum:g}, or a lower learning_rate than {learning_rate:g}"
