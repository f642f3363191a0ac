"""A network that predicts pixels, of a model's size: what generative prediction makes of the same possible clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from wmplan.exam.progress import Arrays, Progress
from wmplan.exam.subject import Array, Subject, Window, batches, distinct, distinct_windows
from wmplan.training.initial_model import seeded_initialisation

CONTEXT = 2
AHEAD = (1, 2)
PATCH, DEPTH = 8, 4
"""Pixels a side of a patch, and layers between the first and the last."""
BATCH = 32
LEARNING_RATE = 1e-3


class PixelNetwork(nn.Module):
    """The next frame from the last ones, in patches: convolutions over them add to the last frame what changes.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3 * CONTEXT * PATCH**2, width, 3, padding=1)
        self.layers = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(DEPTH))
        self.leave = nn.Conv2d(width, 3 * PATCH**2, 3, padding=1)

    def forward(self, frames: Tensor) -> Tensor:
        """The frame (N, 3, H, W) after `frames` (N, CONTEXT, 3, H, W), from 0 to 1."""
        height, width = frames.shape[-2:]
        padded = F.pad(frames.flatten(1, 2), (0, -width % PATCH, 0, -height % PATCH), mode="replicate")
        x = F.silu(self.enter(F.pixel_unshuffle(padded, PATCH)))
        for layer in self.layers:
            x = x + F.silu(layer(x))
        changed = F.pixel_shuffle(self.leave(x), PATCH)[..., :height, :width]
        return frames[:, -1] + changed


def network_of_size(parameters: int, seed: int) -> PixelNetwork:
    """The smallest that has at least so many parameters."""
    width = 8
    while True:
        with seeded_initialisation(seed):
            network = PixelNetwork(width)
        if sum(weight.numel() for weight in network.parameters()) >= parameters:
            return network
        width += 8


class PixelSubject(Subject):
    """A trained PixelNetwork; its surprise is the mean absolute error of pixels.

    Args:
        stride: frames from one of its steps to the next.
    """

    name = "pixel predictor"

    def __init__(self, network: PixelNetwork, image_size: tuple[int, int], stride: int) -> None:
        self.network, self.image_size, self.stride = network, image_size, stride

    def windows(self, length: int) -> list[Window]:
        every = [Window(CONTEXT, ahead, self.stride) for ahead in AHEAD]
        return [one for one in every if one.frames <= length]

    @torch.inference_mode()
    def surprise(
        self, frames: NDArray[np.uint8], windows: Sequence[Window], actions: NDArray[np.float32] | None = None
    ) -> list[Array]:
        kept, index = distinct(frames)
        pixels = scaled(kept)
        found = []
        for window in windows:
            stretches, of = distinct_windows(index, window)
            errors = [self._errors(pixels[torch.from_numpy(part)]) for part in batches(stretches, BATCH)]
            found.append(np.concatenate(errors)[of])
        return found

    def _errors(self, frames: Tensor) -> Array:
        """Errors (B,) over the steps behind the context of `frames` (B, steps, 3, H, W)."""
        seen, errors = frames[:, :CONTEXT], []
        for step in range(CONTEXT, frames.shape[1]):
            predicted = self.network(seen)
            errors.append((predicted - frames[:, step]).abs().mean((1, 2, 3)))
            seen = torch.cat([seen[:, 1:], predicted[:, None]], 1)
        found: Array = torch.stack(errors).mean(0).double().numpy()
        return found


def train(
    possible: Callable[[], NDArray[np.uint8]],
    image_size: tuple[int, int],
    parameters: int,
    stride: int,
    steps: int,
    seed: int,
    progress: Progress,
) -> PixelSubject:
    """Train a network of a size on possible clips (N, T, H, W, 3), which are drawn where it is not trained yet."""
    network = network_of_size(parameters, seed)

    def trained() -> Arrays:
        fit(network, possible(), stride, steps, seed)
        return {name: weight.numpy() for name, weight in network.state_dict().items()}

    weights = progress.arrays("pixel-predictor", trained)
    network.load_state_dict({name: torch.from_numpy(weight) for name, weight in weights.items()})
    return PixelSubject(network.eval(), image_size, stride)


def fit(network: PixelNetwork, clips: NDArray[np.uint8], stride: int, steps: int, seed: int) -> None:
    """Train a network on clips (N, T, H, W, 3)."""
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=max(steps, 1))
    last = clips.shape[1] - CONTEXT * stride
    for _ in tqdm(range(steps), desc="pixel predictor", unit="step", disable=None, leave=False):
        clip, start = rng.integers(len(clips), size=BATCH), rng.integers(last, size=BATCH)
        places = start[:, None] + stride * np.arange(CONTEXT + 1)
        batch = scaled(clips[clip[:, None], places])
        loss = (network(batch[:, :CONTEXT]) - batch[:, CONTEXT]).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def scaled(frames: NDArray[np.uint8]) -> Tensor:
    """Frames (..., H, W, 3) as (..., 3, H, W) from 0 to 1."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(frames, -1, -3))).float() / 255
