"""An action-conditioned world model sits the exam: its predictions of latents beside what it encodes then."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmplan.errors import UserError
from wmplan.exam.subject import Array, Subject, Window, batches, distinct, distinct_windows, window_places
from wmplan.models.base import WorldModel

AHEAD = (1, 2, 3, 4)
"""Model steps that windows may predict."""
BATCH = 512
"""Frames that are encoded, and windows that are rolled out, at once."""


class WorldModelSubject(Subject):
    """A WorldModel. Without a robot in the scene it is told that the robot does nothing.

    A model that takes the robot's state and does not read it off frames is told the mean of its data, always.

    Its surprise is the mean absolute difference of predicted and encoded latents, over their entries and the predicted
    model steps; entries of the robot's own state, which frames do not show, are left out.
    """

    def __init__(self, model: WorldModel, name: str = "model") -> None:
        self.model, self.name = model.eval(), name
        spec = model.spec
        if len(spec.cameras) > 1:
            raise UserError(f"the model sees {', '.join(spec.cameras)}; clips have one camera")
        self.image_size = spec.image_size

    def check_actions(self, count: int) -> None:
        if count and count != (wanted := self.model.spec.action_dim):
            raise UserError(
                f"the exam's actions have {count} numbers, the model's {wanted}: an exam with actions takes a model of "
                "its own task"
            )

    def windows(self, length: int) -> list[Window]:
        spec = self.model.spec
        # of windows that do equally well the first is taken: the one that sees most
        every = [Window(seen, ahead, spec.action_block) for seen in range(spec.history, 0, -1) for ahead in AHEAD]
        most = self.model.most_frames
        every = [one for one in every if most is None or one.context + one.ahead <= most]
        fitting = [one for one in every if one.frames <= length]
        if not fitting:
            min(every, key=lambda one: one.frames).starts(length)  # says what does not fit
        return fitting

    @torch.inference_mode()
    def surprise(
        self, frames: NDArray[np.uint8], windows: Sequence[Window], actions: NDArray[np.float32] | None = None
    ) -> list[Array]:
        kept, index = distinct(frames)
        latents = torch.cat([self._encode(kept[part]) for part in batches(np.arange(len(kept)), BATCH)])
        if actions is None:
            return [self._still(latents, index, window) for window in windows]
        self.check_actions(actions.shape[-1])
        return [self._commanded(latents, index, torch.from_numpy(actions), window) for window in windows]

    def _encode(self, frames: NDArray[np.uint8]) -> Tensor:
        """Latents (U, *latent) of single frames."""
        model, spec = self.model, self.model.spec
        state = None
        if spec.proprio_dim and not (model.reads_proprio or model.reads_state):
            state = torch.tensor(spec.proprio_mean, device=model.device).expand(len(frames), 1, -1)
        return model.encode(torch.from_numpy(frames)[:, None].to(model.device), state)[:, 0].float()

    def _still(self, latents: Tensor, index: NDArray[np.int64], window: Window) -> Array:
        """(N, count) of one window where the robot is told to do nothing: of windows alike one is predicted."""
        spec = self.model.spec
        still = torch.tensor(spec.neutral_action).repeat(spec.action_block).to(self.model.device)
        stretches, of = distinct_windows(index, window)
        parts = []
        for part in batches(stretches, BATCH):
            actions = still.expand(len(part), part.shape[1] - 1, -1)
            parts.append(self._errors(latents[torch.from_numpy(part)], actions, window))
        return torch.cat(parts).double().cpu().numpy()[of]

    def _commanded(self, latents: Tensor, index: NDArray[np.int64], actions: Tensor, window: Window) -> Array:
        """(N, count) of one window under the actions (N, T, a) that were commanded."""
        block = self.model.spec.action_block
        steps = actions.unfold(1, block, 1).transpose(-1, -2).flatten(2).to(self.model.device)  # (N, T - block + 1, A)
        places = window_places(window, index.shape[1])
        parts = []
        for clip, done in zip(index, steps, strict=True):
            frames = latents[torch.from_numpy(clip[places])]
            parts.append(self._errors(frames, done[torch.from_numpy(places[:, :-1])], window))
        return torch.stack(parts).double().cpu().numpy()

    def _errors(self, latents: Tensor, actions: Tensor, window: Window) -> Tensor:
        """(B,) from latents (B, context + ahead, *latent) and the actions between them."""
        seen = window.context
        past = actions[:, : seen - 1] if seen > 1 else None
        predicted = self.model.rollout(latents[:, :seen].clone(), actions[:, None, seen - 1 :].clone(), past)[:, 0]
        error = (predicted - latents[:, seen:]).abs()[..., ~self.model.state_entries]
        return error.flatten(1).mean(1)
