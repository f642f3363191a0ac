"""How long a run will take, from a few steps of each stage on made-up batches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from wmplan.data.varied_frames import varied
from wmplan.models import JEPA
from wmplan.training.stage import Batch, Stage
from wmplan.training.windows import StageWindows

STEPS, SECONDS = 3, 2.0  # that a stage is timed for at most, after one step to warm up


@contextmanager
def left_as_it_was(module: nn.Module) -> Iterator[None]:
    """A context after which a module has the weights, the wish for gradients and the mode that it had before."""
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    wanted = {name: parameter.requires_grad for name, parameter in module.named_parameters()}
    modes = {name: part.training for name, part in module.named_modules()}
    try:
        yield
    finally:
        module.load_state_dict(weights)
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(wanted[name]).grad = None
        for name, part in module.named_modules():
            part.training = modes[name]


class SameBatch:
    """One batch for ever."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.batch

    def state_dict(self) -> dict[str, Any]:
        """Nothing, since it stands nowhere."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Change nothing."""


def seconds_per_step(stage: Stage) -> float:
    """Seconds of a step of a stage, which is not used afterwards."""
    batch = stage.ranks.put(next(iter(stage.batches)))
    stage.module.train()
    stage.one_step(batch)
    begun, done, seconds = time.perf_counter(), 0, 0.0
    while done < STEPS and seconds < SECONDS:
        stage.one_step(batch)
        done, seconds = done + 1, time.perf_counter() - begun
    return seconds / done


def made_up_batch(windows: StageWindows, model: JEPA, columns: tuple[str, ...], dense: bool = False) -> Batch:
    """A batch of the shapes of a stage's, from fixed random numbers.

    Args:
        columns: cameras and their second frames, action, proprio, latent, hidden, goal, steps.
        dense: a frame at every robot step.
    """
    generator = torch.Generator().manual_seed(0)
    count, frames = windows.batch_size, windows.rows if dense else windows.frames
    spec = model.spec

    def pictures() -> torch.Tensor:
        shape = (count, frames, *spec.image_size, 3)
        return torch.randint(256, shape, dtype=torch.uint8, generator=generator)

    made: dict[str, Callable[[], torch.Tensor]] = {
        **dict.fromkeys((*spec.cameras, *map(varied, spec.cameras)), pictures),
        "action": lambda: torch.rand(
            count, frames - 1, spec.action_dim if dense else spec.block_dim, generator=generator
        ),
        "proprio": lambda: torch.randn(count, frames, spec.proprio_dim, generator=generator),
        "latent": lambda: torch.randn(count, frames, *spec.latent_shape, generator=generator),
        "hidden": lambda: torch.randn(count, frames, *spec.latent_shape, generator=generator),
        "goal": lambda: torch.randn(count, *spec.latent_shape, generator=generator),
        "steps": lambda: frames * torch.rand(count, generator=generator),
    }
    return {name: made[name]() for name in columns}


@torch.no_grad()
def encoding_seconds(model: JEPA, frames: int) -> float:
    """Seconds that encoding so many rows takes, a frame of each camera."""
    count = 64
    pixels = torch.zeros(1, count, *model.spec.image_size, 3, dtype=torch.uint8)
    proprio = torch.zeros(1, count, model.spec.proprio_dim) if model.spec.proprio_dim else None
    begun = time.perf_counter()
    model.eval().encode(dict.fromkeys(model.spec.cameras, pixels), proprio)
    return (time.perf_counter() - begun) / count * frames


class Estimate:
    """Seconds that the parts of a run still to come take, in their order."""

    def __init__(self, parts: Mapping[str, float]) -> None:
        self.parts = dict(parts)

    def after(self, part: str) -> float:
        """Seconds of all that comes after a part."""
        names = list(self.parts)
        return sum(self.parts[name] for name in names[names.index(part) + 1 :]) if part in names else 0.0

    def say(self) -> None:
        """Print the sum and its parts on standard error."""
        parts = ", ".join(f"{name} {spoken(seconds)}" for name, seconds in self.parts.items())
        print(f"about {spoken(sum(self.parts.values()))} in all on this machine: {parts}", file=sys.stderr)


def spoken(seconds: float) -> str:
    """A time as people say it: 40 s, 12 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
