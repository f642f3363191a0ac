"""What a run is watched by: open-loop error by horizon, and the task's state read off latents. Nothing here trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmplan.models import JEPA
from wmplan.models.state_probe import StateProbe, state_errors


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
    latents, actions = latents.to(model.device), actions.to(model.device)
    predicted = model.predict_windows(latents, actions)
    still = latents[:, history - 1 : history]
    error = ((predicted - latents[:, history:]) @ model.whitening.T).square().mean((0, 2))
    change = ((still - latents[:, history:]) @ model.whitening.T).square().mean((0, 2))
    return [round(float(value), 4) for value in (error / change).sqrt()]


@torch.no_grad()
def one_step_error(model: JEPA, latents: Tensor, actions: Tensor) -> Tensor:
    """Standard deviation of the one-step error in each entry of the latent, (L,), on held-out windows.

    Of a single window it is the size of the error.
    """
    history = model.spec.history
    latents, actions = latents.to(model.device), actions.to(model.device)
    predicted = model.predict_windows(latents[:, : history + 1], actions[:, :history])
    error = predicted[:, 0] - latents[:, history]
    return (error.std(0) if len(error) > 1 else error[0].abs()).clamp_min(1e-6)


@torch.no_grad()
def proprio_read(model: JEPA, held: Tensor, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """How well the head reads each number of the robot's state off held-out frames.

    Args:
        held: latents (N, L), the robot's states among them.
        names: of the P numbers.

    Returns:
        `r2`, the share of its variance that is read (1 is all, 0 or less is nothing), and `median_error` in its unit.
    """
    held = held.to(model.device)
    wanted = held[:, model.visual_dim :]
    error = model.read_proprio(held) - wanted
    spread = (wanted - wanted.mean(0)).square().mean(0).clamp_min(1e-9)
    shares = 1 - error.square().mean(0) / spread
    medians = error.abs().median(0).values * model.proprio_std
    return {
        name: {"r2": round(float(share), 3), "median_error": float(f"{float(median):.3g}")}
        for name, share, median in zip(names, shares, medians, strict=True)
    }


def probe_errors(
    latents: Tensor, states: Tensor, held_latents: Tensor, held_states: Tensor, names: tuple[str, ...], kind: str
) -> NDArray[np.float64]:
    """Absolute errors (M, D) of the task states, read off held-out latents (M, L) by a probe.

    The probe sees true states, which no model here is trained on: it only tells what an encoder holds.

    Args:
        latents, states: what the probe is fitted on, (N, L) and (N, D).
        held_states: the true ones, (M, D).
        names: of the D entries.
        kind: of the probe, see StateProbe.
    """
    probe = StateProbe(latents, states, names, kind, steps=600)
    return state_errors(probe(held_latents).double().numpy(), held_states.double().numpy(), names)


def medians(errors: NDArray[np.float64], names: Sequence[str]) -> dict[str, float]:
    """The median error of each entry."""
    return {name: round(float(value), 4) for name, value in zip(names, np.median(errors, axis=0), strict=True)}


def worst_entry(
    by_region: Mapping[str, Mapping[str, Sequence[float]]], spread: Mapping[str, float]
) -> dict[str, float]:
    """For each region the largest median error among the entries, as a share of the entry's spread over all states."""
    regions = {region for entry in by_region.values() for region in entry}
    return {
        region: round(max(of[region][0] / float(spread[entry]) for entry, of in by_region.items() if region in of), 4)
        for region in sorted(regions)
    }


def collapse_alarm(rank: float, dimensions: int) -> dict[str, Any]:
    """The effective rank, with an alarm where latents use fewer than two dimensions or a tenth of what they have."""
    return {"effective_rank": round(rank, 2), "collapsed": rank < max(2.0, 0.1 * dimensions)}
