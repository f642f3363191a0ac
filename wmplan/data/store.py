"""A data set of episodes in HDF5 shards, read as one.

A collected data set is a folder with meta.json, shards/NNNNN.h5, and episodes.h5, which shows the shards as the single
file that stable-worldmodel's loader takes: stable_worldmodel.data.HDF5Dataset(path=FOLDER / "episodes.h5").
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from wmplan.data.formats import describe, public_files
from wmplan.data.meta import DataError, StoreMeta
from wmplan.data.shard import Shard, not_finite

OPEN_SHARDS = 16  # file handles kept


def shard_path(folder: Path, shard: int) -> Path:
    """Where a collection puts its shard number `shard`."""
    return folder / "shards" / f"{shard:05d}.h5"


class EpisodeStore:
    """Episodes numbered from 0, and rows numbered through all episodes.

    Args:
        paths: the HDF5 files, in the order of their episodes.
        meta: what is known of them.

    Attributes:
        lengths: rows of each episode, of shape (E,); one more than its robot steps.
        offsets: first row of each episode, of shape (E,).
        columns: (shape of a row, dtype) by name.
    """

    def __init__(self, paths: Iterable[Path], meta: StoreMeta) -> None:
        self.paths, self.meta = list(paths), meta
        self._open: dict[int, Shard] = {}
        if not self.paths:
            raise DataError("a data set needs at least one HDF5 file")
        lengths, local, shards = [], [], []
        self.columns = self._shard(0).columns
        for number, path in enumerate(self.paths):
            shard = self._shard(number)
            if shard.columns != self.columns:
                raise DataError(f"{path} has other columns than {self.paths[0]}")
            lengths.append(shard.lengths)
            local.append(shard.offsets)
            shards.append(np.full(len(shard.lengths), number))
        self.lengths: NDArray[np.int64] = np.concatenate(lengths)
        self.offsets: NDArray[np.int64] = np.cumsum(self.lengths) - self.lengths
        self._local: NDArray[np.int64] = np.concatenate(local)
        self._shard_of: NDArray[np.int64] = np.concatenate(shards)

    @classmethod
    def open(cls, path: str | Path, *, task: str | None = None, partial: bool = False) -> EpisodeStore:
        """Open a data set.

        Args:
            path: a folder that `wmplan collect` wrote; or a public data set: an HDF5 file in stable-worldmodel's
                layout, or a folder of such files, read as one in the order of their names.
            task: Gymnasium id that the data has to be of. A public file does not say what it is of.
            partial: take the shards that are there, though the collection is not finished.

        Raises:
            DataError: where there is no data set, or it is unfinished, damaged or of another task.
        """
        folder = Path(path)
        if not (folder / "meta.json").is_file():
            files = public_files(folder)
            return cls(files, describe(files, task))
        meta = StoreMeta.read(folder)
        paths = [shard_path(folder, shard) for shard in range(meta.num_shards)]
        present = [path for path in paths if path.is_file()]
        if len(present) < len(paths) and not (partial and present):
            raise DataError(
                f"{folder} is unfinished: it has {len(present)} of {len(paths)} shards; run the same collect command "
                "again to go on"
            )
        store = cls(present, meta)
        if task is not None:
            store.require_task(task)
        return store

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def num_rows(self) -> int:
        """Rows of all episodes."""
        return int(self.lengths.sum())

    def require_task(self, task: str) -> None:
        """Raise a DataError unless the data is of this task."""
        if self.meta.task != task:
            raise DataError(f"the data in {self.paths[0].parent.parent} is of the task {self.meta.task}, not of {task}")

    def episode(
        self, index: int, columns: Iterable[str] | None = None, start: int = 0, stop: int | None = None
    ) -> dict[str, NDArray[Any]]:
        """Rows start to stop of one episode: column name -> (rows, ...); all columns where none are named."""
        if not 0 <= index < len(self):
            raise IndexError(f"there is no episode {index}, the data set has {len(self)}")
        length, first = int(self.lengths[index]), int(self._local[index])
        start, stop, _ = slice(start, stop).indices(length)
        shard = self._shard(int(self._shard_of[index]))
        return {name: shard.read(name, first + start, first + stop) for name in columns or self.columns}

    def column(self, name: str, episodes: Iterable[int] | None = None, *, progress: bool = False) -> NDArray[Any]:
        """A whole column in memory, of shape (rows, ...): of all episodes, or of those named, in their order.

        With `progress`, a bar is shown on a terminal.
        """
        chosen = np.arange(len(self)) if episodes is None else np.asarray(list(episodes), np.int64)
        if name not in self.columns:
            raise DataError(f"{self.paths[0]} has no column {name!r}; it has {', '.join(self.columns)}")
        shape, dtype = self.columns[name]
        values = np.empty((int(self.lengths[chosen].sum()), *shape), dtype)
        row = 0
        for index in tqdm(chosen, desc=f"read {name}", unit="ep", disable=None if progress else True):
            length = int(self.lengths[index])
            values[row : row + length] = self.episode(int(index), (name,))[name]
            row += length
        return values

    def check_finite(self) -> None:
        """Raise a DataError that names the episode and step of the first action or state that is not finite."""
        names = [name for name, (_, dtype) in self.columns.items() if dtype.kind == "f"]
        for index in range(len(self)):
            for name, step in not_finite(self.episode(index, names)):
                raise DataError(
                    f"{name} of episode {index} at step {step} is not finite ({self.paths[self._shard_of[index]]})"
                )

    def close(self) -> None:
        """Close the files; they are opened again when they are needed."""
        for shard in self._open.values():
            shard.close()
        self._open.clear()

    def _shard(self, number: int) -> Shard:
        shard = self._open.pop(number, None) or Shard(self.paths[number])
        self._open[number] = shard  # most recently used last
        if len(self._open) > OPEN_SHARDS:
            self._open.pop(next(iter(self._open))).close()
        return shard

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}
