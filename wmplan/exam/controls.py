"""What has to be beside a model's figures: those that know nothing, those that know pixels, and the one that knows all.

Published figures of intuitive physics were doubtful where these were missing: untrained networks reach 51 to 64 % on
some properties (Garrido et al. 2025, "Intuitive physics understanding emerges from self-supervised pretraining").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wmplan.exam.quadruplet import ExamSource, Quadruplet
from wmplan.exam.subject import Array, Subject, Window, window_places


class CopyLastFrame(Subject):
    """Predicts that nothing changes: the mean absolute difference of pixels from the last one seen."""

    name = "copy last frame"

    def __init__(self, image_size: tuple[int, int]) -> None:
        self.image_size = image_size

    def windows(self, length: int) -> list[Window]:
        return [one for one in (Window(1, ahead) for ahead in (1, 2, 4, 8)) if one.frames <= length]

    def surprise(
        self, frames: NDArray[np.uint8], windows: Sequence[Window], actions: NDArray[np.float32] | None = None
    ) -> list[Array]:
        pixels = frames.astype(np.float32) / 255
        found = []
        for window in windows:
            places = window_places(window, frames.shape[1])
            last = pixels[:, places[:, window.context - 1]]  # (N, count, H, W, 3)
            errors = [np.abs(pixels[:, step] - last).mean((2, 3, 4)) for step in places[:, window.context :].T]
            found.append(np.stack(errors).mean(0, dtype=np.float64))
        return found


class TrueSimulator(Subject):
    """Simulates on from the first moment of a clip, and compares states: it is wrong where the world was exchanged."""

    name = "true simulator"

    def __init__(self, source: ExamSource, image_size: tuple[int, int]) -> None:
        self.source, self.image_size = source, image_size

    def windows(self, length: int) -> list[Window]:
        return [Window(1, length - 1)]

    def surprise(
        self, frames: NDArray[np.uint8], windows: Sequence[Window], actions: NDArray[np.float32] | None = None
    ) -> list[Array]:
        raise NotImplementedError("the simulator needs states, see sit()")

    def sit(self, quadruplets: Sequence[Quadruplet], windows: Sequence[Window]) -> list[Array]:
        values = []
        for one in quadruplets:
            expected = [self.source.predict(one, world, 0) for world in range(2)]
            clips = np.concatenate([one.clip_states, one.states[:1]])
            begins = np.stack([expected[world] for world in (0, 1, 0, 1, 0)])
            values.append(np.abs(clips - begins).mean((1, 2))[:, None])
        return [np.stack(values)]
