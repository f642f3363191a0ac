"""How badly the model predicted what the robot then saw: its own measure of whether the world is as it learnt it."""

from __future__ import annotations

import torch
from torch import Tensor

from wmplan.models.base import WorldModel
from wmplan.planning.cost import copies

FLOOR = 1e-3
"""Smallest scale that a latent's entry is measured in, as a fraction of the mean over all."""


def standardised_error(error: Tensor, scale: Tensor) -> Tensor:
    """Root of the mean over a latent's entries of (error / scale)^2: about 1 where the error is as on held-out data.

    Args:
        error: predicted less observed latents, (..., *latent).
        scale: deviation of the one-step error on held-out data, (*latent,).

    Returns:
        Of shape (...).
    """
    entries = scale.clamp(min=FLOOR * float(scale.mean()))
    return (error / entries).flatten(error.ndim - scale.ndim).square().mean(-1).sqrt()


def surprise(
    model: WorldModel, context: Tensor, actions: Tensor, observed: Tensor, past_actions: Tensor | None = None
) -> Tensor | None:
    """The standardised error (B,) of the model's prediction of `observed`.

    Args:
        context: latents up to one model step ago, (B, T, *latent).
        actions: executed in that model step, (B, A).
        observed: the latents it led to, (B, *latent).
        past_actions: executed between the context's frames, (B, T - 1, A).

    Returns:
        None for a model that does not know its error on held-out data (`error_scale`).
    """
    scale = model.error_scale
    if scale is None:
        return None
    with torch.inference_mode():
        predicted = model.rollout(*copies(context, actions[:, None, None], past_actions))[:, 0, 0]  # (B, *latent)
        return standardised_error(predicted - observed, scale)
