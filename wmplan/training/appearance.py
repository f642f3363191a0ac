"""The stage that makes a model see through looks: a second encoder gives a frame of any look the latent of the nominal.

The first encoder is the teacher: what a state's nominal frame encodes to is the target for the frame of the same state
under other colours, light, camera, distractors, occluder, noise and blur. All that was or will be trained on latents
stays what it is, and so does the nominal world: there the two agree, and the first speaks (see SecondLook). Looks that
simply stood in the first stage's data would not do: a look lasts for an episode, so it is the easiest thing to predict
and to tell a batch's episodes apart by, and it would be encoded instead (Sobal et al. 2022, Joint Embedding Predictive
Architectures Focus on Slow Features).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wmplan.data.varied_frames import varied
from wmplan.models import JEPA
from wmplan.models.base import Frames
from wmplan.models.camera_encoders import side_by_side
from wmplan.models.encoders import SecondLook
from wmplan.training.precision import bfloat16_products
from wmplan.training.ranks import WHOLE, Share
from wmplan.training.stage import Batch

NOMINAL_SHARE = 0.2
"""Of a batch: frames of the nominal world, where the second has to agree with the first."""
USUAL, MARGIN = 0.999, 1.25
"""The first encoder is believed up to MARGIN times what nominal frames disagree by in USUAL of the cases."""


def columns(cameras: Sequence[str]) -> tuple[str, ...]:
    """What the stage reads of the data: every camera's frames, and its second ones."""
    return (*cameras, *map(varied, cameras))


def appearance_loss(
    model: JEPA, batch: Batch, generator: torch.Generator, bfloat16: bool = False, share: Share = WHOLE
) -> tuple[Tensor, dict[str, float]]:
    """Huber loss of the visual latents against those of the nominal frames, in whitened units.

    Whitened, a wrong block angle costs as much as a wrong position; and where an occluder hides the block there is no
    right answer, whose large errors a squared loss would be about.

    Args:
        batch: of every camera `pixels` and `pixels_varied`, say, uint8 (N, 1, H, W, 3); `latent` (N, 1, L) of the
            former by the encoders as they were.
        bfloat16: multiply in bfloat16.
        share: of the batch that this is.
    """
    rows = len(batch["latent"])
    nominal = share.of_first(round(NOMINAL_SHARE * (rows if share.alone else share.total)), rows)
    cameras = model.spec.cameras
    frames = {one: torch.cat([batch[one][:nominal], batch[varied(one)][nominal:]]) for one in cameras}
    with bfloat16_products(bfloat16, batch["latent"].device):
        latents = second_latents(model, frames)
    error = whitened_error(model, latents.float(), batch["latent"])
    return share.weight * F.huber_loss(error, torch.zeros_like(error)), {}


@torch.no_grad()
def appearance_figures(model: JEPA, batch: Batch) -> dict[str, Any]:
    """How far the second encoder's latents are from the targets, as shares of these' own spread: median over frames.

    Args:
        batch: as of appearance_loss().
    """
    batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
    target = batch["latent"]
    spread = whitened_error(model, target[..., : model.visual_dim], target.mean((0, 1)).expand_as(target))
    typical = spread.norm(dim=-1).median()
    looks = {"nominal_look": {one: batch[one] for one in model.spec.cameras}}
    looks["varied_look"] = {one: batch[varied(one)] for one in model.spec.cameras}
    return {
        name: float(whitened_error(model, second_latents(model, frames), target).norm(dim=-1).median() / typical)
        for name, frames in looks.items()
    }


def looks(model: JEPA) -> list[SecondLook]:
    """The two encoders of every camera, or those that all cameras go through."""
    return [camera for camera in model.encoder if isinstance(camera, SecondLook)]


def seconds(model: JEPA) -> nn.ModuleList:
    """The second encoder of every camera, or that which all go through."""
    return nn.ModuleList(camera.second for camera in looks(model))


def second_latents(model: JEPA, frames: Frames) -> Tensor:
    """What the second encoders alone make of frames (N, T, H, W, 3): visual latents (N, T, D)."""
    views = model.views(frames)
    latents = side_by_side(list(seconds(model)), [view.flatten(0, 1) for view in views])  # (N T, D)
    return ((latents - model.visual_mean) / model.visual_std).unflatten(0, views[0].shape[:2])


@torch.no_grad()
def set_tolerance(model: JEPA, frames: Frames, changes: Tensor) -> None:
    """Set from what nominal frames disagree by up to where the first encoder is believed.

    Args:
        frames: held-out, of the nominal world, uint8 (N, 1, H, W, 3) of every camera.
        changes: of raw visual latents (M, D) over a robot step.
    """
    views = [view[:, 0].to(model.device) for view in model.views(frames)]
    encoders = looks(model)
    deviations = list((changes.std(0) + 1e-6).to(model.device).chunk(len(views)))
    if len(encoders) < len(views):  # one that all cameras go through
        views, deviations = [torch.cat(views)], [torch.stack(deviations).square().mean(0).sqrt()]
    for encoder, view, deviation in zip(encoders, views, deviations, strict=True):
        encoder.scale.copy_(deviation)
        apart = encoder.disagreement(encoder.first(view), encoder.second(view))
        encoder.tolerance.copy_(MARGIN * apart.quantile(USUAL))


def whitened_error(model: JEPA, latents: Tensor, targets: Tensor) -> Tensor:
    """W (z - target) of the visual part: (..., D) and (..., L) to (..., D)."""
    whitening = model.whitening[: model.visual_dim, : model.visual_dim]
    return (latents - targets[..., : model.visual_dim]) @ whitening.mT
