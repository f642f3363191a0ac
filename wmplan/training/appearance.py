"""The stage that makes the encoder see through looks: a frame of another-looking world gets the latent of the nominal.

The encoder as it is teaches itself: what a state's nominal frame encodes to is the target for the frame of the same
state under other colours, light, camera, distractors, occluder, noise and blur. All that was or will be trained on
latents stays what it is. Looks that simply stood in the first stage's data would not do: a look lasts for an episode,
so it is the easiest thing to predict and to tell a batch's episodes apart by, and it would be encoded instead
(Sobal et al. 2022, Joint Embedding Predictive Architectures Focus on Slow Features).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from wmplan.data.varied_frames import COLUMN
from wmplan.models import JEPA
from wmplan.training.precision import bfloat16_products
from wmplan.training.stage import Batch

COLUMNS = ("pixels", COLUMN)
NOMINAL_SHARE = 0.2
"""Of a batch: frames of the nominal world, whose latents have to stay."""


def appearance_loss(
    model: JEPA, batch: Batch, generator: torch.Generator, bfloat16: bool = False
) -> tuple[Tensor, dict[str, float]]:
    """Huber loss of the visual latents against those of the nominal frames, in whitened units.

    Whitened, a wrong block angle costs as much as a wrong position; and where an occluder hides the block there is no
    right answer, whose large errors a squared loss would be about.

    Args:
        batch: `pixels` and `pixels_varied` uint8 (N, 1, H, W, 3), `latent` (N, 1, L) of the former by the encoder as
            it was.
        bfloat16: multiply in bfloat16.
    """
    nominal = round(NOMINAL_SHARE * len(batch["pixels"]))
    frames = torch.cat([batch["pixels"][:nominal], batch[COLUMN][nominal:]])
    with bfloat16_products(bfloat16):
        latents = model.encode_visual(frames)
    error = whitened_error(model, latents.float(), batch["latent"])
    return F.huber_loss(error, torch.zeros_like(error)), {}


@torch.no_grad()
def appearance_figures(model: JEPA, batch: Batch) -> dict[str, Any]:
    """How far latents are from those of the nominal frames, as shares of the latents' own spread: median over frames.

    Args:
        batch: as of appearance_loss().
    """
    target = batch["latent"]
    spread = whitened_error(model, target[..., : model.visual_dim], target.mean((0, 1)).expand_as(target))
    typical = spread.norm(dim=-1).median()
    return {
        name: float(whitened_error(model, model.encode_visual(batch[column]), target).norm(dim=-1).median() / typical)
        for name, column in {"nominal_look": "pixels", "varied_look": COLUMN}.items()
    }


def whitened_error(model: JEPA, latents: Tensor, targets: Tensor) -> Tensor:
    """W (z - target) of the visual part: (..., D) and (..., L) to (..., D)."""
    whitening = model.whitening[: model.visual_dim, : model.visual_dim]
    return (latents - targets[..., : model.visual_dim]) @ whitening.mT
