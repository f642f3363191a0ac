"""A causal model without actions sits the exam: how far off each next tubelet is, given what it expected."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmplan.exam.subject import Array, Window, batches, distinct_windows
from wmplan.exam.video_model import VideoSubject

BATCH = 16
WORST = (None, 16, 8, 1)
"""Tokens of a tubelet whose surprise counts, the largest; of 64. What is impossible happens in a few of them, and in a
mean over all it is lost among what is hard to predict anyhow."""


class CausalSubject(VideoSubject):
    """A causal VideoJEPA. It has seen a clip from its beginning on whenever it predicts the tubelet that comes next.

    So that its windows grow: `context` is what the first one sees. Its surprise is the error beyond the one that was
    expected, or the negative logarithm of the likelihood: see NextErrors.excess and log_loss.
    """

    def windows(self, length: int) -> list[Window]:
        """The next tubelet, from one or two tubelets on."""
        spec, tubelet = self.model.spec, self.model.encoder.tubelet
        slide = tubelet * spec.stride
        every = [
            Window(seen * tubelet, tubelet, spec.stride, slide, worst, likelihood)
            for likelihood in (False, True)
            for worst in WORST
            for seen in (1, 2)
            if seen < self.model.encoder.grid[0]
        ]
        every[-1].starts(length)  # says what does not fit
        return every

    def _surprise(self, pixels: Tensor, index: NDArray[np.int64], windows: Sequence[Window]) -> list[Array]:
        clips, of = distinct_windows(index, self.span(self.times(index.shape[1])))
        parts = [self._tokens(pixels[torch.from_numpy(part)]) for part in batches(clips, BATCH)]
        tokens = torch.cat(parts)[torch.from_numpy(of)]  # (N, spans, 2, times - 1, S)
        excess, log_loss = torch.cat([tokens[:, 0], tokens[:, 1:, :, -1].transpose(1, 2)], 2).unbind(1)
        return [self._of(log_loss if window.likelihood else excess, window) for window in windows]

    def times(self, length: int) -> int:
        """Whole tubelets in a clip of `length` frames, at most those of the model."""
        spec, encoder = self.model.spec, self.model.encoder
        return min(((length - 1) // spec.stride + 1) // encoder.tubelet, encoder.grid[0])

    def span(self, times: int) -> Window:
        """All that is looked at together: the first shows the clip's beginning, each further one a tubelet more."""
        tubelet, stride = self.model.encoder.tubelet, self.model.spec.stride
        return Window((times - 1) * tubelet, tubelet, stride, tubelet * stride)

    def _tokens(self, clips: Tensor) -> Tensor:
        """Surprise at each token of clips (B, T, H, W, 3), by excess and by likelihood, (B, 2, times - 1, S)."""
        errors = self.model.next_errors(clips.to(self.model.encoder.embed.weight.device))
        return torch.stack([errors.excess, errors.log_loss], 1).cpu()

    def _of(self, tokens: Tensor, window: Window) -> Array:
        """(N, its starts) from the surprise (N, times - 1, S) at each token."""
        later = tokens[:, window.context // self.model.encoder.tubelet - 1 :]
        if window.worst is not None:
            later = later.topk(min(window.worst, later.shape[-1]), -1).values
        found: Array = later.mean(-1).double().numpy()
        return found
