"""One HDF5 file of episodes in the column layout of the public LeWM / stable-worldmodel data sets, opened to read.

Every column is one dataset over all rows of the file; `ep_len` and `ep_offset` hold each episode's length and first
row. Frames are (rows, H, W, 3). An episode of N robot steps has N + 1 rows, and the action of its last row is NaN, as
stable-worldmodel's recorder leaves it. Their loader opens a shard as a data set by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from wmplan.data.columns import KNOWN, Column, Unusable, open_column
from wmplan.data.episode_index import INDEX, read_index
from wmplan.data.hdf5_file import open_hdf5
from wmplan.data.meta import DamagedError, DataError
from wmplan.data.sources import source_files, unwritten_rows

ONE_CAMERA: Mapping[str, str] = {"pixels": "pixels"}
"""Columns of frames, and what they are called in the file, where nothing else is asked for."""


class Shard:
    """A finished HDF5 file, opened to read.

    Args:
        path: the file.
        check: look at every column before any is read. Without, the file has to have passed that before.
        cameras: columns that are handed out as frames, and what they are called in the file.

    Raises:
        DataError: where the file is missing, locked, cut short, damaged or has no episodes in this layout.
    """

    def __init__(self, path: Path, *, check: bool = True, cameras: Mapping[str, str] = ONE_CAMERA) -> None:
        self.path, self._cameras = path, cameras
        self._file = open_hdf5(path)
        self._columns: dict[str, Column] = {}
        if check:
            try:
                self._check()
            except BaseException:
                self.close()
                raise

    @cached_property
    def _index(self) -> tuple[NDArray[np.int64], NDArray[np.int64], list[Path]]:
        return read_index(self._file, self.path)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Rows of each episode, of shape (E,)."""
        return self._index[0]

    @property
    def offsets(self) -> NDArray[np.int64]:
        """First row of each episode, of shape (E,)."""
        return self._index[1]

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """The rows that belong to episodes, episode after episode."""
        ends = np.cumsum(self.lengths)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - self.lengths, self.lengths)
        return np.repeat(self.offsets, self.lengths) + within

    def _check(self) -> None:
        try:
            names = list(self._file)
        except (OSError, RuntimeError) as error:
            raise self._damaged("its columns cannot be listed", error) from None
        missing = [name for name in (*INDEX, "action") if name not in names]
        if missing:
            raise DataError(
                f"{self.path} has no column {missing[0]!r}, so it is no data set in the stable-worldmodel layout"
            )
        self.columns: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        """(shape of a row, dtype) by name, of the columns that can be read."""
        self.unusable: dict[str, str] = {}
        """Why the others cannot, by name; goes on from "column 'NAME' "."""
        self.files = list(dict.fromkeys([self.path, *self._index[2]]))
        """Every file that rows come from, this one first."""
        behind = {name: name for name in names if name not in INDEX and name not in self._cameras.values()}
        behind |= {name: source for name, source in self._cameras.items() if source in names}
        for name in sorted(behind, key=lambda one: one != "action"):
            try:
                column = self._column(name)
                files = source_files(column.dataset)
                self._require_rows(name, column)
                self._require_values(name, column)
            except Unusable as why:
                if name in ("action", *self._cameras):
                    raise DataError(f"{self.path}: column {name!r} {why}") from None
                self.unusable[name] = str(why)
                continue
            except (OSError, RuntimeError) as error:
                raise self._damaged(f"column {name!r} cannot be opened", error) from None
            self.columns[name] = (column.shape, column.dtype)
            self.files += [file for file in files if file not in self.files]
        self.columns = {name: self.columns[name] for name in behind if name in self.columns}

    def _column(self, name: str) -> Column:
        if name not in self._columns:
            source = self._cameras.get(name, name)
            self._columns[name] = open_column(self._file, source, frames=name in self._cameras)
        return self._columns[name]

    def _require_rows(self, name: str, column: Column) -> None:
        """Raise unless the column has the rows that the index and the actions say."""
        count, needed = len(column.dataset), int((self.offsets + self.lengths).max(initial=0))
        rows = len(self._column("action").dataset)
        if self._is_known(name) and count < needed:
            raise DamagedError(
                f"{self.path} is cut short: column {name!r} has {count} rows, its episodes need {needed}"
            )
        if self._is_known(name) and count != rows:
            raise DataError(
                f"{self.path}: column {name!r} has {count} rows and 'action' {rows}, they have to agree, or their rows "
                "would not belong together"
            )
        if count != rows:
            raise Unusable(f"has {count} rows, it has to have {rows}, one a robot step, to be read with the others")

    def _require_values(self, name: str, column: Column) -> None:
        """Raise unless the rows of all episodes were written, and those at either end can be meant as frames."""
        if not self._is_known(name) or not len(self.rows):
            return
        unwritten = unwritten_rows(column.dataset)
        if unwritten is not None and unwritten[self.rows].any():
            raise Unusable(f"was never written at row {self.rows[unwritten[self.rows].argmax()]}: HDF5 would invent it")
        if name in self._cameras and column.dataset.dtype != np.uint8:
            for row in (int(self.rows[0]), int(self.rows[-1])):
                column.arrange(self._stored(name, row, row + 1))

    def _is_known(self, name: str) -> bool:
        """Whether a column has to have a row a robot step."""
        return name in KNOWN or name in self._cameras

    def _stored(self, name: str, start: int, stop: int | None) -> NDArray[Any]:
        try:
            return np.asarray(self._column(name).dataset[start:stop])
        except (OSError, RuntimeError, ValueError) as error:
            raise self._damaged(f"column {name!r} cannot be read", error) from None
        except MemoryError:
            raise DataError(f"{self.path}: rows {start} to {stop} of column {name!r} do not fit into memory") from None

    def _damaged(self, what: str, error: Exception) -> DamagedError:
        return DamagedError(f"{self.path} is damaged: {what} ({error}); fetch it again, or delete and collect it again")

    def read(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Rows start to stop of a column; frames always as uint8 (rows, H, W, 3), quantities as floats (rows, N).

        Raises:
            DamagedError: where its bytes are not those that were written.
            DataError: where the column is missing, or a value in it cannot be meant.
        """
        if name not in self._columns and self._cameras.get(name, name) not in self._file:
            raise DataError(f"{self.path} has no column {name!r}; it has {', '.join(self._file)}")
        try:
            return self._column(name).arrange(self._stored(name, start, stop))
        except Unusable as why:
            raise DataError(f"{self.path}: column {name!r}, rows {start} to {stop or 'the last'}: it {why}") from None

    def possible_cameras(self) -> list[str]:
        """What could be a camera's frames in the file, by its shape."""
        found = {name: self._file.get(name) for name in self._file}
        return [
            name
            for name, one in found.items()
            if isinstance(one, h5py.Dataset) and len(one.shape) == 4 and 3 in (one.shape[1], one.shape[3])
        ]

    def require_episodes(self, episodes: range) -> None:
        """Raise unless these episodes are what the file holds, in their order and without gaps; the last may lack.

        Raises:
            DamagedError: where the index says otherwise, or not what `episode_idx` says.
        """
        count, lengths = len(self.lengths), self.lengths
        told = np.repeat(np.arange(count) + episodes.start, lengths)
        contiguous = np.array_equal(self.offsets, np.cumsum(lengths) - lengths)
        if count > len(episodes) or not contiguous or not np.array_equal(self.read("episode_idx"), told):
            raise DamagedError(
                f"{self.path} is damaged: its index is not that of the episodes {episodes.start} to "
                f"{episodes.stop - 1}; delete it and run the same collect command again"
            )

    def close(self) -> None:
        """Close the file."""
        self._columns.clear()
        self._file.close()
