"""Training of a hidden state's predictor: over long rollouts, with targets between model steps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from wmplan.models import JEPA
from wmplan.models.predictors import HiddenStatePredictor
from wmplan.training.latent_stages import noisy_context, state_loss
from wmplan.training.precision import bfloat16_products
from wmplan.training.ranks import WHOLE, Share
from wmplan.training.stage import Batch
from wmplan.training.windows import DYNAMICS_STEPS

TARGETS = 8  # latents that are read off a rollout: reading is a good part of the time


def window_rows(model: JEPA) -> int:
    """Rows of a window at the robot's rate: the context's, then a rollout's."""
    return (model.spec.history - 1 + DYNAMICS_STEPS) * model.spec.action_block + 1


def dense_dynamics_loss(
    model: JEPA,
    batch: Batch,
    generator: torch.Generator,
    noise: float = 0.0,
    bfloat16: bool = False,
    share: Share = WHOLE,
    state_weight: float = 0.0,
) -> tuple[Tensor, dict[str, float]]:
    """Open-loop prediction error at TARGETS robot steps of a rollout, in whitened units (see dynamics_loss).

    Args:
        batch: `latent` (N, T, L) and `action` (N, T - 1, a) at the robot's rate, T being window_rows().
        generator: draws the context's length, the robot steps that are read, and the noise.
        noise: of the context; see dynamics_loss.
        bfloat16: multiply in bfloat16.
        share: of the batch that this is.
        state_weight: see state_loss().
    """
    predictor, spec = model.predictor, model.spec
    assert isinstance(predictor, HiddenStatePredictor)
    latents, actions = batch["latent"], batch["action"]
    newest, block = (spec.history - 1) * spec.action_block, spec.action_block
    short = torch.rand((), generator=generator) < 0.2
    first = newest if short else 0
    context = noisy_context(model, latents[:, first : newest + 1 : block], generator, noise, share)
    past = actions[:, first:newest].unflatten(1, (-1, block)).flatten(2) if newest > first else None  # (N, h - 1, A)
    future = actions[:, None, newest:]  # (N, 1, robot steps, a)
    steps = sorted(torch.randperm(future.shape[2], generator=generator)[:TARGETS].add(1).tolist())
    normalised = (future - model.action_mean[: spec.action_dim]) / model.action_std[: spec.action_dim]
    with bfloat16_products(bfloat16, latents.device):
        predicted = predictor.predict_at(*model.window(context, past), normalised, steps).squeeze(1)
    off = predicted.float() - latents[:, [newest + step for step in steps]]
    error = off @ model.whitening.T
    loss = F.smooth_l1_loss(error, torch.zeros_like(error)) + state_loss(model, off, state_weight)
    return share.weight * loss, {"squared": share.weight * error.square().mean().item()}
