"""The episodes of any reader, as they are to be written: another size of frames, actions moved by rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.data.columns import KNOWN, without_last
from wmplan.data.reader import Reader
from wmplan.data.shard_writer import OWN_COLUMNS

READ_BYTES = 1 << 26  # of frames at once, before they are made smaller


@dataclass(frozen=True)
class Converted:
    """A view of a data set.

    Args:
        data: where rows come from.
        image_size: (height, width) of the frames; as they are where None.
        shift: rows by which actions move: those of row t go to row t + shift. Rows without an action at the beginning
            or end are left out.
    """

    data: Reader
    image_size: tuple[int, int] | None = None
    shift: int = 0

    def __len__(self) -> int:
        return len(self.episodes)

    @property
    def episodes(self) -> NDArray[np.int64]:
        """Numbers, in the data, of the episodes that have a row."""
        return np.flatnonzero(self.data.lengths > abs(self.shift))

    @property
    def cameras(self) -> tuple[str, ...]:
        """The columns that hold frames, of those that there are."""
        return tuple(name for name in self.data.cameras if name in self.data.columns)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Rows of each, of shape (E,)."""
        return self.data.lengths[self.episodes] - abs(self.shift)

    @property
    def columns(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """(shape of a row, dtype) by name, of what can be written: numbers that are finite."""
        found = {}
        for name, (shape, dtype) in self.data.columns.items():
            if name in self.cameras:
                found[name] = ((*(self.image_size or shape[:2]), 3), dtype)
            elif dtype.kind in "fiub" and name not in OWN_COLUMNS and (name in KNOWN or self._finite(name, dtype)):
                found[name] = (shape, dtype)
        return found

    def _finite(self, name: str, dtype: np.dtype[Any]) -> bool:
        return dtype.kind != "f" or bool(np.isfinite(self.data.column(name)).all())

    def episode(self, number: int, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
        """Columns of one episode, frames made smaller as they are read."""
        index = int(self.episodes[number])
        rows = int(self.lengths[number])
        first = max(self.shift, 0)
        columns = {}
        for name in names:
            if name in self.cameras:
                columns[name] = np.concatenate(list(self._frames(name, index, first, first + rows)))
            elif name == "action":
                actions = self.data.read(index, name, max(-self.shift, 0), max(-self.shift, 0) + rows)
                columns[name] = without_last(actions, True)
            else:
                columns[name] = self.data.read(index, name, first, first + rows)
        return columns

    def _frames(self, name: str, index: int, start: int, stop: int) -> Iterator[NDArray[np.uint8]]:
        shape, _ = self.data.columns[name]
        step = max(1, READ_BYTES // max(1, int(np.prod(shape))))
        for row in range(start, stop, step):
            frames = self.data.read(index, name, row, min(row + step, stop))
            yield frames if self.image_size in (None, shape[:2]) else resized(frames, *self.image_size or shape[:2])


def resized(frames: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Frames (rows, H, W, 3) in another size, each pixel the mean of what it covers, as goal images are resized."""
    from PIL import Image

    small = np.empty((len(frames), height, width, 3), np.uint8)
    for row, frame in enumerate(frames):
        small[row] = np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BOX))
    return small
