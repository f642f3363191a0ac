"""What sits an exam: something that sees clips and tells how surprising each stretch of them is."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmplan.errors import UserError
from wmplan.exam.quadruplet import Quadruplet

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """A stretch of a clip: what is seen of it, and what is predicted then.

    Attributes:
        context: model steps that are seen.
        ahead: model steps that are predicted.
        stride: frames from one model step to the next.
        slide: frames from one window to the next.
        worst: predicted tokens whose surprise counts, those with the largest; all where it is None, as of subjects that
            know no tokens.
        likelihood: of subjects that say how wrong they may be, whether surprise is the negative logarithm of what they
            held likely, instead of the error.
    """

    context: int
    ahead: int
    stride: int = 1
    slide: int = 1
    worst: int | None = None
    likelihood: bool = False

    @property
    def frames(self) -> int:
        """Frames from its first to its last."""
        return (self.context + self.ahead - 1) * self.stride + 1

    def starts(self, length: int) -> NDArray[np.int64]:
        """First frames of the windows that slide over a clip of `length` frames.

        Raises:
            UserError: if the clip is shorter than the window.
        """
        if self.frames > length:
            raise UserError(
                f"clips have {length} frames, the window takes {self.frames} ({self.context} model steps seen and "
                f"{self.ahead} predicted, {self.stride} frames each)"
            )
        return np.arange(0, length - self.frames + 1, self.slide)

    def ends(self, length: int) -> NDArray[np.int64]:
        """Last frames of these windows."""
        return self.starts(length) + self.frames - 1


class Subject(ABC):
    """Whoever sits the exam.

    Attributes:
        name: for tables.
        image_size: (height, width) of the frames it takes.
    """

    name: str
    image_size: tuple[int, int]

    def check_actions(self, count: int) -> None:
        """Check that it can be told actions of `count` numbers, 0 where there is no robot.

        Raises:
            UserError: if it cannot.
        """
        return None  # who looks at frames alone does not mind

    @abstractmethod
    def windows(self, length: int) -> list[Window]:
        """The windows, of which one is chosen, for clips of `length` frames.

        Raises:
            UserError: if no window fits into such a clip.
        """

    @abstractmethod
    def surprise(
        self, frames: NDArray[np.uint8], windows: Sequence[Window], actions: NDArray[np.float32] | None = None
    ) -> list[Array]:
        """How wrong the predictions of each window are, sliding over the clips.

        Args:
            frames: (N, T, H, W, 3).
            windows: as windows() gives them.
            actions: commanded from each frame on, (N, T, a); None where there is no robot.

        Returns:
            For each window (N, its starts), the window from the first frame on first.
        """

    def sit(self, quadruplets: Sequence[Quadruplet], windows: Sequence[Window]) -> list[Array]:
        """Surprise at the four clips of each quadruplet, in their order, and at the recoloured one.

        Returns:
            For each window (Q, 5, its starts).
        """
        frames = np.stack([np.concatenate([one.clips, one.recoloured[None]]) for one in quadruplets])
        actions = [one.clip_actions for one in quadruplets]
        given = None
        if actions[0] is not None:
            given = np.concatenate([np.concatenate([one, one[:1]]) for one in actions if one is not None])
        found = self.surprise(frames.reshape(-1, *frames.shape[2:]), windows, given)
        return [values.reshape(len(quadruplets), 5, -1) for values in found]


def distinct(frames: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The frames that differ (U, H, W, 3), and which of them stands at each place of `frames` (N, T, H, W, 3), (N, T).

    Clips of a quadruplet share their frames: encoding each once saves more than half.
    """
    flat = np.ascontiguousarray(frames.reshape(-1, *frames.shape[-3:]))
    places: dict[bytes, int] = {}
    index = np.empty(len(flat), np.int64)
    kept: list[int] = []
    for number, frame in enumerate(flat):
        key = hashlib.blake2b(frame, digest_size=16).digest()
        if key not in places:
            places[key] = len(kept)
            kept.append(number)
        index[number] = places[key]
    return flat[kept], index.reshape(frames.shape[:2])


def window_places(window: Window, length: int) -> NDArray[np.int64]:
    """Frames of the model steps of each window, (its starts, context + ahead)."""
    return window.starts(length)[:, None] + np.arange(window.context + window.ahead) * window.stride


def distinct_windows(index: NDArray[np.int64], window: Window) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Windows that differ in their frames, and which of them stands at each place.

    Args:
        index: the frame at each place of the clips, (N, T).

    Returns:
        Frames of each (U, context + ahead), and (N, count) of numbers below U.
    """
    frames = index[:, window_places(window, index.shape[1])]  # (N, count, steps)
    kept, of = np.unique(frames.reshape(-1, frames.shape[-1]), axis=0, return_inverse=True)
    return kept, of.reshape(frames.shape[:2])


def batches(values: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Parts of nearly equal length, at most `size`."""
    return np.array_split(values, max(1, -(-len(values) // size)))
