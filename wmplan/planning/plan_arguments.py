"""Reads what planners are given, so that a wrong argument is named before anything runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from wmplan.errors import UserError
from wmplan.settings.numbers import MAX_SEED, whole_numbers


def read_bounds(
    low: Tensor | Sequence[float], high: Tensor | Sequence[float], action_block: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The bounds of one model step's action, (A,) float32 each, in memory of their own.

    Raises:
        ValueError: unless they are finite, low <= high, and A is a multiple of action_block.
    """
    low, high = (torch.as_tensor(bound, dtype=torch.float32).to(device, copy=True) for bound in (low, high))
    if low.ndim != 1 or low.shape != high.shape or not len(low):
        raise UserError(f"low and high must have shape (A,), got {tuple(low.shape)} and {tuple(high.shape)}")
    if not bool(torch.isfinite(low).all() and torch.isfinite(high).all()):
        raise UserError("low and high must be finite: the deviation of the candidates is a fraction of the range")
    if bool((low > high).any()):
        raise UserError("low is above high in some dimension")
    if action_block < 1 or len(low) % action_block:
        raise UserError(f"action_block is {action_block}, it has to divide the {len(low)} entries of low")
    return low, high


def require_equal_steps(low: Tensor, high: Tensor, action_block: int, parameterization: str) -> None:
    """Raise a ValueError unless the bounds (A,) are the same for every robot step, as all but free actions need."""
    if parameterization == "free":
        return
    for steps in (low.view(action_block, -1), high.view(action_block, -1)):  # (action_block, action_dim)
        if not bool((steps == steps[0]).all()):
            raise UserError(f"low and high differ within a block; {parameterization!r} needs them equal")


def environment_generators(seeds: Sequence[int] | int, device: torch.device | str = "cpu") -> list[torch.Generator]:
    """One generator for each environment, so that no plan depends on the others in its batch.

    Raises:
        ValueError: unless the seeds are whole numbers from 0 to 2**63 - 1.
    """
    return [torch.Generator(device).manual_seed(seed) for seed in whole_numbers(seeds, "seeds", 0, MAX_SEED)]


def default_generators(seed: int, batch: int, device: torch.device) -> list[torch.Generator]:
    """Those of a planner that was not reset, from the seed of its settings."""
    seeds = [np.random.SeedSequence([seed, index]) for index in range(batch)]
    return environment_generators([int(one.generate_state(1)[0]) for one in seeds], device)


def read_nominal(nominal: Tensor, low: Tensor) -> Tensor:
    """A nominal plan (B, H', A), on the device of the bounds (A,).

    Raises:
        ValueError: unless it has such a shape and is finite.
    """
    if nominal.ndim != 3 or nominal.shape[1] < 1 or nominal.shape[2] != len(low):
        raise UserError(f"nominal must have shape (B, H, {len(low)}), got {tuple(nominal.shape)}")
    nominal = nominal.detach().to(low.device, torch.float32)
    if not bool(torch.isfinite(nominal).all()):
        raise UserError("nominal holds numbers that are not finite")
    return nominal
