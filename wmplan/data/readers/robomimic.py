"""robomimic's HDF5: a group data/demo_N an episode, with `actions` and a group `obs`. LIBERO and MimicGen write it too.

https://robomimic.github.io/docs/datasets/overview.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from wmplan.data.cameras import choose_cameras
from wmplan.data.columns import Column, Unusable, as_column, as_frames, without_last
from wmplan.data.formats import describe
from wmplan.data.hdf5_file import has_demonstrations, open_hdf5
from wmplan.data.meta import DamagedError, DataError
from wmplan.data.reader import Reader
from wmplan.data.sources import source_files, unwritten_rows
from wmplan.registry import register_reader

PROPRIO = (
    ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos"),  # robomimic's own choice
    ("ee_pos", "ee_ori", "gripper_states"),  # LIBERO's
)
OTHERS = {"state": "obs/object", "physics_state": "states", "reward": "rewards"}


@register_reader("robomimic")
class RobomimicFile(Reader):
    """A file in robomimic's layout.

    `proprio` is the hand's position, its orientation and the gripper's, `state` what the observation says of objects,
    `physics_state` the simulator's state.

    Args:
        path: the file.
        task: Gymnasium id that the data is taken to be of.
        camera: the observation whose frames are `pixels`; needed where there are several.
        cameras: observations whose frames are columns of their own names, in place of one.
    """

    def __init__(
        self,
        path: Path,
        task: str | None = None,
        *,
        camera: str | None = None,
        cameras: Sequence[str] | None = None,
    ) -> None:
        self.path, self.files = path, [path]
        self._file: h5py.File | None = None
        try:
            self._names = self._episodes()
            first = self._group(0)
            self._chosen = choose_cameras(camera, cameras, _cameras(first), path)
            self.cameras = tuple(self._chosen)
            self._sources = self._find_sources(first)
            self._find_columns()
            self.lengths = np.array([self._length(number) for number in range(len(self._names))], np.int64)
            self.meta = replace(describe(self, task), control_rate=self._rate())
        except (OSError, RuntimeError, KeyError) as error:
            self.close()
            raise DamagedError(f"{path} is damaged ({' '.join(str(error).split())}); fetch it again") from None
        except BaseException:
            self.close()
            raise

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether it is an HDF5 file with a group `data`."""
        return path.is_file() and has_demonstrations(path)

    def read(self, episode: int, name: str, start: int, stop: int) -> NDArray[Any]:
        """Rows start to stop of a column of one episode."""
        where = f"{self.path}: {self._names[episode]}, column {name!r}"
        try:
            parts = [self._column(episode, name, source) for source in self._sources[name]]
            rows = np.concatenate([part.arrange(part.dataset[start:stop]) for part in parts], axis=-1)
        except Unusable as why:
            raise DataError(f"{where} {why}") from None
        except (OSError, RuntimeError, ValueError) as error:
            raise DamagedError(f"{where} cannot be read ({' '.join(str(error).split())})") from None
        rows = rows.astype(self.columns[name][1], copy=False)
        return without_last(rows, stop == self.lengths[episode]) if name == "action" else rows

    def _episodes(self) -> list[str]:
        """Names of the groups, in the order of their numbers."""
        data = self._root()["data"]
        found = [name for name in data if data.get(name, getclass=True) is h5py.Group and "actions" in data[name]]
        if not found:
            raise DataError(f"{self.path}: its group 'data' holds no group with 'actions', so no episode")
        return sorted(found, key=lambda name: [int(part) for part in re.findall(r"\d{1,15}", name)] or [0])

    def _find_sources(self, first: h5py.Group) -> dict[str, list[str]]:
        """The datasets behind each column."""
        sources = {"action": ["actions"]}
        sources |= {name: [f"obs/{camera}"] for name, camera in self._chosen.items()}
        own = next((names for names in PROPRIO if all(f"obs/{name}" in first for name in names)), None)
        if own is not None:
            sources["proprio"] = [f"obs/{name}" for name in own]
        return sources | {name: [source] for name, source in OTHERS.items() if source in first}

    def _find_columns(self) -> None:
        self.columns, self.unusable = {}, {}
        for name, sources in self._sources.items():
            try:
                parts = [self._column(0, name, source) for source in sources]
                self.files += [file for part in parts for file in source_files(part.dataset) if file not in self.files]
            except Unusable as why:
                if name in ("action", *self.cameras):
                    raise DataError(f"{self.path}: {self._names[0]}, column {name!r} {why}") from None
                self.unusable[name] = str(why)
                continue
            self.columns[name] = (_row_shape(parts), np.result_type(*(part.dtype for part in parts)))

    def _column(self, episode: int, name: str, source: str) -> Column:
        dataset = self._group(episode).get(source)
        if not isinstance(dataset, h5py.Dataset):
            raise Unusable(f"has no dataset {source!r}")
        if not dataset.shape:
            raise Unusable("is a single value, it has to have a row a robot step")
        stored = dataset.dtype.newbyteorder("=")
        return as_frames(dataset, stored) if name in self.cameras else as_column(name, dataset, stored)

    def _length(self, number: int) -> int:
        """Rows of an episode, the same in every column, all written, and each of the first episode's shape."""
        where = f"{self.path}: {self._names[number]}"
        counts: dict[str, int] = {}
        for name, (shape, _) in self.columns.items():
            try:
                parts = [self._column(number, name, source) for source in self._sources[name]]
                if (found := _row_shape(parts)) != shape:
                    raise Unusable(f"has rows of shape {found}, those of {self._names[0]} have {shape}")
                for part in parts:
                    unwritten = unwritten_rows(part.dataset)
                    if unwritten is not None and unwritten.any():
                        raise Unusable(f"was never written at row {unwritten.argmax()}: HDF5 would invent it")
            except Unusable as why:
                raise DataError(f"{where}, column {name!r} {why}") from None
            counts |= {source: len(part.dataset) for source, part in zip(self._sources[name], parts, strict=True)}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{source} {count}" for source, count in counts.items())
            raise DataError(f"{where} has other numbers of rows by dataset: {told}")
        return counts["actions"]

    def _rate(self) -> float | None:
        """The control frequency that robosuite was run with, where the file says it."""
        try:
            told = json.loads(self._root()["data"].attrs["env_args"])["env_kwargs"]["control_freq"]
            return float(told) if 0 < float(told) < 1e6 else None
        except (KeyError, TypeError, ValueError, RecursionError):
            return None

    def _group(self, number: int) -> h5py.Group:
        return self._root()["data"][self._names[number]]

    def _root(self) -> h5py.File:
        if self._file is None:
            self._file = open_hdf5(self.path)
        return self._file

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}


def _row_shape(parts: list[Column]) -> tuple[int, ...]:
    """The shape of a row of datasets side by side."""
    return () if not parts[0].shape else (*parts[0].shape[:-1], sum(part.shape[-1] for part in parts))


def _cameras(episode: h5py.Group) -> list[str]:
    """Observations that are colour frames."""
    group = episode.get("obs")
    if not isinstance(group, h5py.Group):
        return []
    found = {name: group.get(name) for name in group}
    return [
        name
        for name, one in found.items()
        if isinstance(one, h5py.Dataset) and len(one.shape) == 4 and 3 in (one.shape[1], one.shape[3])
    ]
