"""A data set of episodes in HDF5 shards, read as one.

A collected data set is a folder with meta.json, shards/NNNNN.h5, and episodes.h5, which shows the shards as the single
file that stable-worldmodel's loader takes: stable_worldmodel.data.HDF5Dataset(path=FOLDER / "episodes.h5").
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from wmplan.data.cameras import choose_cameras
from wmplan.data.finite import not_finite
from wmplan.data.formats import describe, public_files
from wmplan.data.hdf5_file import has_demonstrations
from wmplan.data.meta import DataError, StoreMeta
from wmplan.data.reader import Reader
from wmplan.data.shard import ONE_CAMERA, Shard
from wmplan.registry import register_reader

OPEN_SHARDS = 16  # file handles kept
READ_BYTES = 1 << 26  # of a column at once


def shard_path(folder: Path, shard: int) -> Path:
    """Where a collection puts its shard number `shard`."""
    return folder / "shards" / f"{shard:05d}.h5"


@register_reader("shards")
class EpisodeStore(Reader):
    """Episodes numbered from 0, and rows numbered through all episodes.

    Args:
        paths: the HDF5 files, in the order of their episodes.
        meta: what is known of them; what the files tell themselves where left out.
        task: Gymnasium id the data is taken to be of, where `meta` is left out.
        episodes: those that a collection puts into each file, which may end early; any where left out.
        camera: the column whose frames are `pixels`; None for the one of that name.
        cameras: columns that are frames, in place of `pixels`.

    Attributes:
        lengths: rows of each episode, of shape (E,); one more than its robot steps.
        offsets: first row of each episode, of shape (E,), rows that belong to none not being counted.
        columns: (shape of a row, dtype) by name. Frames are uint8 (H, W, 3); `action`, `proprio`, `state`
            and `physics_state` are floats (N,), whatever the files hold.
        unusable: why other things in the first file are no columns, by name; goes on from "column 'NAME' ".
        files: every file that rows come from: `paths`, each followed by what it links to.

    Raises:
        DataError: where a file is missing, locked or damaged, or cannot be read as a data set.
    """

    def __init__(
        self,
        paths: Iterable[Path],
        meta: StoreMeta | None = None,
        *,
        task: str | None = None,
        episodes: Sequence[range] | None = None,
        camera: str | None = None,
        cameras: Sequence[str] | None = None,
    ) -> None:
        self.paths = list(paths)
        self._open: dict[int, Shard] = {}
        if not self.paths:
            raise DataError("a data set needs at least one HDF5 file")
        self._sources = self._choose_cameras(camera, cameras)
        self.cameras = tuple(self._sources)
        try:
            self._read_indices(episodes)
            self.meta = describe(self, task) if meta is None else meta
        except BaseException:
            self.close()
            raise

    def _choose_cameras(self, camera: str | None, cameras: Sequence[str] | None) -> Mapping[str, str]:
        """Columns of frames, and what they are called in the files."""
        if camera is None and cameras is None:
            return ONE_CAMERA
        with contextlib.closing(Shard(self.paths[0], check=False)) as shard:
            return choose_cameras(camera, cameras, shard.possible_cameras(), self.paths[0])

    def _read_indices(self, episodes: Sequence[range] | None) -> None:
        """Open every file once, and put their episodes after each other."""
        lengths, local, shards = [], [], []
        self.files = []
        for number, path in enumerate(self.paths):
            shard = Shard(path, cameras=self._sources)
            self._keep(number, shard)
            if number == 0:
                self.columns, self.unusable = shard.columns, shard.unusable
            _require_columns(self, shard)
            if episodes is not None:
                shard.require_episodes(episodes[number])
            self.files += [file for file in shard.files if file not in self.files]
            lengths.append(shard.lengths)
            local.append(shard.offsets)
            shards.append(np.full(len(shard.lengths), number))
        self.lengths = np.concatenate(lengths)
        self._local: NDArray[np.int64] = np.concatenate(local)
        self._shard_of: NDArray[np.int64] = np.concatenate(shards)

    @classmethod
    def open(  # type: ignore[override]  # its constructor takes files
        cls,
        path: str | Path,
        *,
        task: str | None = None,
        partial: bool = False,
        allow_nan: bool = False,
        camera: str | None = None,
        cameras: Sequence[str] | None = None,
    ) -> EpisodeStore:
        """Open a data set.

        Args:
            path: a folder that `wmplan collect` wrote; or a public data set: an HDF5 file in stable-worldmodel's
                layout, or a folder of such files, read as one in the order of their names.
            task: Gymnasium id that the data has to be of. A public file does not say what it is of.
            partial: take the episodes that are there, though the collection is not finished.
            allow_nan: take actions of public data that are not finite, to look at them.
            camera: the column whose frames are `pixels`; None for the one of that name.
            cameras: columns that are frames, in place of `pixels`.

        Raises:
            DataError: where there is no data set, or it is unfinished, damaged or of another task.
        """
        folder = Path(path)
        if not (folder / "meta.json").is_file():
            public = cls(public_files(folder), task=task, camera=camera, cameras=cameras)
            if not allow_nan:
                public.require_finite_actions()
            return public
        meta = StoreMeta.read(folder)
        wanted = {shard_path(folder, shard): meta.shard_episodes(shard) for shard in range(meta.num_shards)}
        present = [path for path in wanted if path.is_file()]
        episodes = [wanted[path] for path in present]
        store = cls(present, meta, episodes=episodes, camera=camera, cameras=cameras) if present else None
        counts: list[int] = np.bincount(store._shard_of, minlength=len(present)).tolist() if store else []
        whole = sum(count == len(wanted[path]) for path, count in zip(present, counts, strict=True))
        if store is None or (whole < len(wanted) and not partial):
            raise DataError(
                f"{folder} is unfinished: it has {whole} of {len(wanted)} shards; run the same collect command again "
                "to go on"
            )
        if task is not None and meta.task is None:  # data of others, converted
            store.meta = replace(meta, task=task)
        elif task is not None:
            store.require_task(task)
        return store

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether it is an HDF5 file, or a folder with such files or of a collection."""
        if path.is_dir():
            return (path / "meta.json").is_file() or any(path.glob("*.h5")) or any(path.glob("*.hdf5"))
        return (h5py.is_hdf5(path) or path.suffix in (".h5", ".hdf5")) and not has_demonstrations(path)

    @property
    def name(self) -> str:
        """The first of its files."""
        return str(self.paths[0])

    def require_task(self, task: str) -> None:
        """Raise a DataError unless the data is of this task."""
        if self.meta.task != task:
            raise DataError(f"the data in {self.paths[0].parent.parent} is of the task {self.meta.task}, not of {task}")

    def path_of(self, episode: int) -> Path:
        """The file that holds an episode."""
        return self.paths[self._shard_of[episode]]

    def read(self, episode: int, name: str, start: int, stop: int) -> NDArray[Any]:
        """Rows start to stop of a column of one episode."""
        first = int(self._local[episode])
        return self._shard(int(self._shard_of[episode])).read(name, first + start, first + stop)

    def column(self, name: str, episodes: Iterable[int] | None = None, *, progress: bool = False) -> NDArray[Any]:
        """A whole column in memory, of shape (rows, ...): of all episodes, or of those named, in their order.

        With `progress`, a bar is shown on a terminal.
        """
        chosen = np.arange(len(self)) if episodes is None else np.asarray(list(episodes), np.int64)
        self.require_column(name)
        shape, dtype = self.columns[name]
        values = np.empty((int(self.lengths[chosen].sum()), *shape), dtype)
        row = 0
        with tqdm(total=len(chosen), desc=f"read {name}", unit="ep", disable=None if progress else True) as bar:
            for count, number, first, stop in self._runs(chosen, int(np.prod(shape)) * dtype.itemsize):
                values[row : row + stop - first] = self._shard(number).read(name, first, stop)
                row += stop - first
                bar.update(count)
        return values

    def _runs(self, episodes: NDArray[np.int64], row_bytes: int) -> Iterator[tuple[int, int, int, int]]:
        """(episodes, shard, first row, row after the last) of what can be read at once."""
        count, number, first, stop = 0, 0, 0, 0
        for index in episodes.tolist():
            shard, start, length = int(self._shard_of[index]), int(self._local[index]), int(self.lengths[index])
            goes_on = shard == number and start == stop and (stop + length - first) * row_bytes <= READ_BYTES
            if count and not goes_on:
                yield count, number, first, stop
                count = 0
            if not count:
                number, first = shard, start
            count, stop = count + 1, start + length
        if count:
            yield count, number, first, stop

    def check_finite(self) -> None:
        """Raise a DataError that names the episode and step of the first action or state that is not finite."""
        names = [name for name, (_, dtype) in self.columns.items() if dtype.kind == "f"]
        for index in range(len(self)):
            for name, step in not_finite(self.episode(index, names)):
                raise DataError(f"{name} of episode {index} at step {step} is not finite ({self.path_of(index)})")

    def close(self) -> None:
        """Close the files; they are opened again when they are needed."""
        for shard in self._open.values():
            shard.close()
        self._open.clear()

    def _shard(self, number: int) -> Shard:
        shard = self._open.pop(number, None) or Shard(self.paths[number], check=False, cameras=self._sources)
        self._keep(number, shard)
        return shard

    def _keep(self, number: int, shard: Shard) -> None:
        self._open[number] = shard  # most recently used last
        if len(self._open) > OPEN_SHARDS:
            self._open.pop(next(iter(self._open))).close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}


def _require_columns(store: EpisodeStore, shard: Shard) -> None:
    """Raise unless a shard has the columns of the first."""
    for name in (*store.columns, *shard.columns):
        if store.columns.get(name) != shard.columns.get(name):
            reason = shard.unusable.get(name) or store.unusable.get(name)
            differs = f"column {name!r} " + (reason or f"is {_told(shard, name)}, not {_told(store, name)}")
            raise DataError(f"{shard.path} has other columns than {store.paths[0]}: {differs}")


def _told(where: EpisodeStore | Shard, name: str) -> str:
    if name not in where.columns:
        return "missing"
    shape, dtype = where.columns[name]
    return f"{dtype} {shape}"
