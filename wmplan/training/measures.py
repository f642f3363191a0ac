"""What a run is watched by: open-loop error by horizon, and the task's state read off latents. Nothing here trains."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from wmplan.evaluation.probe import StateProbe, state_errors
from wmplan.models import JEPA


@torch.no_grad()
def open_loop_error(model: JEPA, latents: Tensor, actions: Tensor) -> list[float]:
    """Root mean square prediction error by model step, over that of saying that nothing moves.

    Args:
        latents: held-out windows, of shape (N, T, L).
        actions: between them, (N, T - 1, A).

    Returns:
        T - history numbers; 1 is as bad as predicting the newest latent for ever.
    """
    history = model.spec.history
    predicted = model.predict_windows(latents, actions)
    still = latents[:, history - 1 : history]
    error = ((predicted - latents[:, history:]) @ model.whitening.T).square().mean((0, 2))
    change = ((still - latents[:, history:]) @ model.whitening.T).square().mean((0, 2))
    return [round(float(value), 4) for value in (error / change).sqrt()]


@torch.no_grad()
def one_step_error(model: JEPA, latents: Tensor, actions: Tensor) -> Tensor:
    """Standard deviation of the one-step error in each entry of the latent, (L,), on held-out windows."""
    history = model.spec.history
    predicted = model.predict_windows(latents[:, : history + 1], actions[:, :history])
    return (predicted[:, 0] - latents[:, history]).std(0).clamp_min(1e-6)


def probe_errors(
    latents: Tensor, states: Tensor, held_latents: Tensor, held_states: Tensor, names: tuple[str, ...], kind: str
) -> dict[str, float]:
    """Median absolute error of each entry of the task state, read off held-out latents (N, L) by a probe.

    The probe sees true states, which no model here is trained on: it only tells what an encoder holds.
    """
    probe = StateProbe(latents, states, names, kind, steps=600)
    errors = np.abs(state_errors(probe(held_latents).double().numpy(), held_states.double().numpy(), names))
    return {name: round(float(value), 4) for name, value in zip(names, np.median(errors, axis=0), strict=True)}


def collapse_alarm(rank: float, dimensions: int) -> dict[str, Any]:
    """The effective rank, with an alarm where latents use fewer than two dimensions or a tenth of what they have."""
    return {"effective_rank": round(rank, 2), "collapsed": rank < max(2.0, 0.1 * dimensions)}
