"""Writing HDF5 shards: episodes gathered in memory and put on the disk whole, every byte under a check."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from wmplan.data.finite import not_finite
from wmplan.data.hdf5_file import sealed
from wmplan.data.meta import DataError, write_file
from wmplan.data.shard import Shard

OWN_COLUMNS = frozenset({"episode_idx", "step_idx"})  # that the writer adds to what it is given
CHUNK_BYTES = 1 << 18  # of raw data: reading one window does not decompress much else


class EpisodeWriter:
    """Gathers episodes and writes them as one shard.

    The file is composed in memory, where frames are compressed as they come (about thirtyfold for rendered ones),
    and put on the disk in one go: HDF5 never sees a full disk and no half-written file can be mistaken for a shard.
    LZ4-HC is what a loader wants: slow to write, as fast as memory to read, and known to every reader with hdf5plugin.
    Every dataset carries Fletcher's checksums, and what HDF5 writes of its own in this format has checksums too.
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
                f"{name} of episode {episode} at step {step} is not finite; nothing of this episode was written"
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

    def extend(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """More rows of the last episode, the first of them in place of its last, whose action was not known yet."""
        first, rows = sum(self.lengths) - 1, len(columns["action"])
        steps = np.arange(rows, dtype=np.int64) + self.lengths[-1] - 1
        for name, values in {**columns, "step_idx": steps}.items():
            self._file[name].resize(first + rows, axis=0)
            self._file[name][first:] = values
        index = self._file["episode_idx"]
        index.resize(first + rows, axis=0)
        index[first:] = index[first]
        self.lengths[-1] += rows - 1

    def save(self) -> None:
        """Write the episodes so far to the path, as a whole shard; more can be added, and saved again.

        The file depends on its episodes alone, not on how often it was saved before.

        Raises:
            DataError: when it cannot be written.
        """
        file = memory_file()
        for name in self._file:
            self._file.copy(name, file)  # chunk after chunk, as they are
        _write_index(file, self.lengths)
        write_memory_file(file, self.path)

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
    _write_index(file, lengths)
    for shard in opened:
        shard.close()
    write_file(path, sealed(file_content(file)))


def _write_index(file: h5py.File, lengths: Sequence[int] | NDArray[np.int64]) -> None:
    """Lengths and first rows of episodes that follow each other, with checksums."""
    lengths = np.asarray(lengths, np.int64)
    offsets = np.cumsum(lengths) - lengths
    for name, values in (("ep_len", lengths.astype(np.int32)), ("ep_offset", offsets)):
        file.create_dataset(name, data=values, chunks=(max(1, len(values)),), fletcher32=True)


def memory_file() -> h5py.File:
    """An empty HDF5 file in memory, of the 1.10 format that SWMR readers ask for."""
    name = f"memory-{uuid.uuid4()}"  # HDF5 knows open files by their names
    return h5py.File(name, "w", driver="core", backing_store=False, libver=("v110", "v110"), rdcc_nbytes=1 << 26)


def write_memory_file(file: h5py.File, path: Path) -> None:
    """Put a file from memory_file() on the disk whole, and close it."""
    write_file(path, file_content(file))


def file_content(file: h5py.File) -> bytes:
    """The bytes of a file from memory_file(), which is closed."""
    file.flush()
    content: bytes = file.id.get_file_image()
    file.close()
    return content
