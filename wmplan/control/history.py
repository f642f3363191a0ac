"""What the robots saw and did in the last robot steps, given to a world model at the stride it was trained with."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmplan.models.base import Frames, ModelSpec, WorldModel

Observation = Mapping[str, Any] | NDArray[np.uint8]
"""Camera frames by name, (H, W, 3) or (B, H, W, 3), and `proprio` (P,) or (B, P); or one camera's frames alone."""


@dataclass
class Seen:
    """One step of B robots: frames (B, 1, H, W, 3), proprio (B, 1, P), and once needed the latents (B, *latent)."""

    frames: Frames
    proprio: Tensor | None
    latent: Tensor | None = None


def read_observation(observation: Observation, model: WorldModel, device: torch.device) -> tuple[Seen, bool]:
    """An observation as tensors with a batch axis, and whether it came with one.

    They are in memory of their own, and the caller may use its arrays again: cameras and vectorised environments do,
    and a frame may be encoded only later. Arrays may be views in any order, and read-only. Frames have to be uint8:
    what numbers of another type mean (from 0 to 1, to 255, to 65535) would be a guess.

    Raises:
        ValueError: at a missing camera, a frame of the wrong size or type, or robot state that is not finite.
    """
    spec = model.spec
    if not isinstance(observation, Mapping):
        if len(spec.cameras) > 1:
            raise ValueError(f"the model sees {', '.join(spec.cameras)}: give a dict of frames, not one array")
        observation = {spec.cameras[0]: observation}
    missing = [name for name in spec.cameras if name not in observation]
    if missing:
        there = ", ".join(map(str, observation)) or "nothing"
        raise ValueError(f"the observation has no {missing[0]!r}; it has {there}")

    frames, batched = {}, False
    for name in spec.cameras:
        given = np.asarray(observation[name])
        if given.dtype != np.uint8:
            raise ValueError(f"{name} is {given.dtype}, it has to be uint8: RGB from 0 to 255")
        if given.ndim not in (3, 4):
            raise ValueError(f"{name} has shape {given.shape}, it has to be (H, W, 3) or (B, H, W, 3)")
        batched = given.ndim == 4
        frame = torch.from_numpy(np.array(given if batched else given[None], order="C"))[:, None]  # (B, 1, H, W, 3)
        try:
            model.check_frames(frame)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        frames[name] = frame.to(device)
    batch = len(frames[spec.cameras[0]])
    if any(len(frame) != batch for frame in frames.values()):
        raise ValueError(f"the cameras have different batches: {', '.join(f'{k} {len(v)}' for k, v in frames.items())}")

    proprio = None
    if spec.proprio_dim and observation.get("proprio") is not None:
        proprio = _numbers("proprio", observation["proprio"]).to(device)
        proprio = (proprio if batched else proprio[None])[:, None]  # (B, 1, P)
        model.check_proprio(proprio, batch, 1)
    return Seen(frames if len(frames) > 1 else frames[spec.cameras[0]], proprio), batched


def _numbers(name: str, given: Any) -> Tensor:
    """Numbers of any type as float32, in memory of their own; what is too large for that is infinite."""
    numbers = np.asarray(given)
    if numbers.dtype.kind not in "biuf":
        raise ValueError(f"{name} is {numbers.dtype}, it has to be an array of numbers")
    with np.errstate(over="ignore"):
        return torch.from_numpy(np.array(numbers, np.float32, order="C"))


def encode(model: WorldModel, seen: Seen) -> Tensor:
    """The latents (B, *latent), computed once."""
    if seen.latent is None:
        with torch.inference_mode():
            seen.latent = model.encode(seen.frames, None if seen.proprio is None else seen.proprio.clone())[:, 0]
    return seen.latent


class History:
    """The last robot steps of B robots, as many as the model's context spans.

    The context is every action_block-th frame back from the newest, whatever the step at which it is asked for.
    Before the first frame the robots stood still, so that a young history is just shorter. A frame is encoded at most
    once, and only when a context holds it.
    """

    def __init__(self, model: WorldModel) -> None:
        self.model = model
        self.span = (model.spec.history - 1) * model.spec.action_block  # robot steps between oldest and newest frame
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.seen: deque[Seen] = deque(maxlen=self.span + 2)  # one to spare for a frame that is replaced
        self.executed: deque[Tensor] = deque(maxlen=self.span)
        self.awaits_action = False

    def add_frame(self, seen: Seen) -> None:
        """What the robots see now; it takes the place of a frame that no action followed."""
        if self.awaits_action:
            self.seen.pop()
        if self.seen and (self.seen[-1].proprio is None) != (seen.proprio is None):
            raise ValueError("proprio is there in some observations of an episode and missing in others")
        self.seen.append(seen)
        self.awaits_action = True

    def add_action(self, actions: Tensor) -> None:
        """What the robots do next, of shape (B, a): the action that was sent, after all limits."""
        self.executed.append(actions.clone())
        self.awaits_action = False

    def context(self) -> tuple[Tensor, Tensor | None]:
        """Latents (B, T, *latent), newest last, and the actions executed between them (B, T - 1, A), None if T is 1."""
        spec: ModelSpec = self.model.spec
        back = range(0, min(len(self.seen), self.span + 1), spec.action_block)  # 0, block, ... robot steps ago
        latents = [encode(self.model, self.seen[-1 - steps]) for steps in reversed(back)]
        context = torch.stack(latents, dim=1)
        if len(back) == 1:
            return context, None
        steps = back[-1]
        actions = torch.stack(list(self.executed)[-steps:], dim=1)  # (B, robot steps, a)
        return context, actions.reshape(len(actions), len(back) - 1, spec.block_dim)
