"""A model without actions sits the exam: it predicts the tokens of a clip's hidden end from its beginning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmplan.errors import UserError
from wmplan.exam.subject import Array, Subject, Window, batches, distinct, distinct_windows
from wmplan.models.video_jepa import VideoJEPA

BATCH = 32


class VideoSubject(Subject):
    """A VideoJEPA of clips. A window's steps are its frames, seen and predicted in whole tubelets.

    Its surprise is the mean absolute difference of predicted and encoded tokens, the latter layer-normalised as in
    training (Garrido et al. 2025).
    """

    def __init__(self, model: VideoJEPA, name: str = "model") -> None:
        self.model, self.name = model.eval(), name
        self.image_size = model.spec.image_size
        if model.encoder.grid[0] < 2:
            raise UserError(
                f"the model sees {model.spec.frames} frames, one token along time: it predicts nothing over time. "
                "An exam takes one that was pretrained on clips: wmplan pretrain objective=vjepa"
            )

    def check_actions(self, count: int) -> None:
        if count:
            raise UserError("this exam has a robot that acts, and the model knows no actions: take exam=scenes")

    def windows(self, length: int) -> list[Window]:
        """From one tubelet seen to all but one, and everything else predicted, or the next tubelet alone.

        Those that predict everything come first, and of these the one that sees most.
        """
        spec, tubelet = self.model.spec, self.model.encoder.tubelet
        total = self.model.encoder.grid[0] * tubelet
        seen = range(total - tubelet, 0, -tubelet)
        sizes = [(one, total - one) for one in seen] + [(one, tubelet) for one in seen[1:]]
        every = [Window(one, ahead, spec.stride, tubelet * spec.stride) for one, ahead in sizes]
        every[0].starts(length)  # says what does not fit
        return every

    @torch.inference_mode()
    def surprise(
        self, frames: NDArray[np.uint8], windows: Sequence[Window], actions: NDArray[np.float32] | None = None
    ) -> list[Array]:
        self.check_actions(0 if actions is None else actions.shape[-1])
        kept, index = distinct(frames)
        return self._surprise(torch.from_numpy(kept), index, windows)

    def _surprise(self, pixels: Tensor, index: NDArray[np.int64], windows: Sequence[Window]) -> list[Array]:
        """As surprise(), from the frames that differ (U, H, W, 3) and which of them stands at each place, (N, T)."""
        found = []
        for window in windows:
            stretches, of = distinct_windows(index, window)
            errors = [self._errors(pixels[torch.from_numpy(part)], window) for part in batches(stretches, BATCH)]
            found.append(torch.cat(errors).double().cpu().numpy()[of])
        return found

    def _errors(self, clips: Tensor, window: Window) -> Tensor:
        """(B,) from clips (B, context + ahead, H, W, 3)."""
        model = self.model
        clips = clips.to(model.encoder.embed.weight.device)
        context = model.encoder(clips[:, : window.context])
        targets = model.targets(clips)
        numbers = torch.arange(targets.shape[1], device=clips.device).expand(len(clips), -1)
        seen, hidden = numbers[:, : context.shape[1]], numbers[:, context.shape[1] :]
        predicted = model.predictor(context, seen, hidden)
        return (predicted - targets[:, context.shape[1] :]).abs().mean((1, 2))
