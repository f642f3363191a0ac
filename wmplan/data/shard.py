"""One HDF5 shard in the column layout of the public LeWM / stable-worldmodel data sets.

Every column is one dataset over all rows of the file, episode after episode; `ep_len` and `ep_offset` hold each
episode's length and first row. Frames are (rows, H, W, 3). An episode of N robot steps has N + 1 rows, and the action
of its last row is NaN, as stable-worldmodel's recorder leaves it. Their loader opens a shard as a data set by itself.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from wmplan.data.meta import DataError, write_file

INDEX = ("ep_len", "ep_offset")
CHUNK_BYTES = 1 << 18  # of raw data: reading one window does not decompress much else


class EpisodeWriter:
    """Gathers episodes and writes them as one shard.

    The file is composed in memory, where frames are compressed as they come (about thirtyfold for rendered ones),
    and put on the disk in one go: HDF5 never sees a full disk and no half-written file can be mistaken for a shard.
    LZ4-HC is what a loader wants: slow to write, as fast as memory to read, and known to every reader with hdf5plugin.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lengths: list[int] = []
        self._file = memory_file()

    def add(self, episode: int, columns: Mapping[str, NDArray[Any]]) -> None:
        """Append one episode; every column has the same number of rows.

        Raises:
            DataError: at an action or a state that is not finite, naming the step.
        """
        rows = len(columns["action"])
        for name, step in not_finite(columns):
            raise DataError(
                f"{name} of episode {episode} at step {step} is not finite; nothing of this shard was written"
            )
        columns = {
            **columns,
            "episode_idx": np.full(rows, episode, np.int64),
            "step_idx": np.arange(rows, dtype=np.int64),
        }
        first = sum(self.lengths)
        for name, values in columns.items():
            if name not in self._file:
                self._create(name, values)
            dataset = self._file[name]
            dataset.resize(first + rows, axis=0)
            dataset[first:] = values
        self.lengths.append(rows)

    def finish(self) -> None:
        """Write the shard to its path.

        Raises:
            DataError: when it cannot be written.
        """
        lengths = np.array(self.lengths)
        self._file["ep_len"] = lengths.astype(np.int32)
        self._file["ep_offset"] = (np.cumsum(lengths) - lengths).astype(np.int64)
        write_memory_file(self._file, self.path)

    def _create(self, name: str, values: NDArray[Any]) -> None:
        row_bytes = max(1, values[0].nbytes)
        rows = int(np.clip(CHUNK_BYTES // row_bytes, 1, 1024))
        shuffle = hdf5plugin.Blosc.NOSHUFFLE if values.dtype == np.uint8 else hdf5plugin.Blosc.SHUFFLE
        self._file.create_dataset(
            name,
            shape=(0, *values.shape[1:]),
            maxshape=(None, *values.shape[1:]),
            dtype=values.dtype,
            chunks=(rows, *values.shape[1:]),
            fletcher32=True,
            **hdf5plugin.Blosc(cname="lz4hc", clevel=5, shuffle=shuffle),
        )


def not_finite(columns: Mapping[str, NDArray[Any]]) -> list[tuple[str, int]]:
    """(column, step) of the first number that is not finite in each float column of one episode.

    The last row's action is left out: there is none, and the public data sets have NaN there.
    """
    found = []
    for name, values in columns.items():
        if values.dtype.kind != "f":
            continue
        rows = values[:-1] if name == "action" else values
        bad = ~np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
        if bad.any():
            found.append((name, int(bad.argmax())))
    return found


class Shard:
    """A finished HDF5 file, opened to read.

    Raises:
        DataError: where the file is missing, cut short, damaged or has no episodes in this layout.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = h5py.File(path, "r")
        except FileNotFoundError:
            raise DataError(f"{path} does not exist") from None
        except OSError as error:
            raise DataError(f"{path} is cut short or no HDF5 file ({str(error).splitlines()[0]})") from None
        missing = [name for name in (*INDEX, "action") if name not in self._file]
        if missing:
            raise DataError(
                f"{path} has no column {missing[0]!r}, so it is no data set in the stable-worldmodel layout"
            )
        self.lengths: NDArray[np.int64] = np.asarray(self.read("ep_len"), np.int64)
        self.offsets: NDArray[np.int64] = np.asarray(self.read("ep_offset"), np.int64)
        self.columns = {
            name: (dataset.shape[1:], dataset.dtype) for name, dataset in self._file.items() if name not in INDEX
        }
        rows = {name: self._file[name].shape[0] for name in self.columns}
        end = int((self.offsets + self.lengths).max(initial=0))
        for name, count in rows.items():
            if count < end:
                raise DataError(f"{path} is cut short: column {name!r} has {count} rows, its episodes need {end}")
        shape = self.columns.get("pixels", ((), None))[0]
        self.channels_first = len(shape) == 3 and shape[0] == 3 and shape[2] != 3
        if self.channels_first:
            self.columns["pixels"] = ((*shape[1:], 3), self.columns["pixels"][1])

    def read(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Rows start to stop of a column; frames always as (rows, H, W, 3).

        Raises:
            DataError: where the column is missing or its bytes are damaged.
        """
        if name not in self._file:
            raise DataError(f"{self.path} has no column {name!r}; it has {', '.join(self._file)}")
        try:
            values = self._file[name][start:stop]
        except OSError as error:
            raise DataError(f"{self.path} is damaged: column {name!r} cannot be read ({error})") from None
        if name == "pixels" and self.channels_first:
            values = np.ascontiguousarray(np.moveaxis(values, 1, -1))
        return values

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def link_shards(path: Path, shards: Sequence[Path]) -> None:
    """Write one small HDF5 file that shows all shards as a single data set (virtual datasets, by relative path).

    It is for readers that take one file; it has to stay where it is relative to the shards.
    """
    opened = [Shard(shard) for shard in shards]
    file = memory_file()
    lengths = np.concatenate([shard.lengths for shard in opened])
    for name, (shape, dtype) in opened[0].columns.items():
        layout, row = h5py.VirtualLayout((int(lengths.sum()), *shape), dtype), 0
        for shard in opened:
            rows = int(shard.lengths.sum())
            layout[row : row + rows] = h5py.VirtualSource(
                str(shard.path.relative_to(path.parent)), name, (rows, *shape), dtype
            )
            row += rows
        file.create_virtual_dataset(name, layout)
    file["ep_len"] = lengths.astype(np.int32)
    file["ep_offset"] = np.cumsum(lengths) - lengths
    for shard in opened:
        shard.close()
    write_memory_file(file, path)


def memory_file() -> h5py.File:
    """An empty HDF5 file in memory, of the 1.10 format that SWMR readers ask for."""
    name = f"memory-{uuid.uuid4()}"  # HDF5 knows open files by their names
    return h5py.File(name, "w", driver="core", backing_store=False, libver=("v110", "v110"), rdcc_nbytes=1 << 26)


def write_memory_file(file: h5py.File, path: Path) -> None:
    """Put a file from memory_file() on the disk whole, and close it."""
    file.flush()
    content = file.id.get_file_image()
    file.close()
    write_file(path, content)
