"""The memory that a search takes, told before the machine is asked for it."""

from __future__ import annotations

import torch

from wmplan.device import free_bytes
from wmplan.errors import UserError
from wmplan.planning.config import PlannerConfig

LARGE = 2**28
"""Bytes of a search below which nobody asks what the machine has free: that takes a part of a millisecond."""
COPIES = 3
"""Tensors of the candidates' size at a time: noise and points, or points, actions and actions within bounds."""


def require_memory(
    config: PlannerConfig, batch: int, horizon: int, action_block: int, action_dim: int, device: torch.device
) -> None:
    """Raise a UserError that names the setting where a search takes more memory than the device has free.

    Args:
        config: of the planner.
        batch: environments planned together.
        horizon: model steps of a plan.
        action_block, action_dim: robot steps in a model step, and numbers in a robot step.
        device: where candidates are made.
    """
    steps = horizon * action_block
    spacing = {"free": 1, "held": action_block}.get(config.parameterization, config.knot_spacing)
    knots = steps // spacing + 1
    shared = 0 if config.parameterization == "free" else 2 * 8 * steps * knots  # from knots to steps, and back
    if getattr(config, "noise_beta", 0.0) > 0:
        shared += 2 * 8 * (knots * action_dim) ** 2  # what colours the noise
    candidate = 4 * (COPIES * steps * action_dim + 6)  # and its cost, its rank
    name, samples = "num_samples", config.num_samples
    if (first := getattr(config, "cold_start_samples", 1)) > samples:
        name, samples = "cold_start_samples", first
    needed = shared + batch * samples * candidate
    if needed < LARGE:
        return
    free = free_bytes(device)
    if needed <= free:
        return
    fitting = (free - shared) // (batch * candidate)
    robots = f" for {batch} robots" if batch > 1 else ""
    asked = f"{name}={samples} with horizon={horizon}" if fitting >= 1 else f"horizon={horizon}"
    right = f"{name} must be at most {fitting}" if fitting >= 1 else "it must be shorter"
    raise UserError(
        f"{asked} takes {needed / 2**30:.1f} GiB{robots}, {free / 2**30:.1f} GiB are free: {right} on this machine"
    )
