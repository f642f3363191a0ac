"""What a data set of episodes offers in whatever format, and how its format is found.

A reader of your own is a subclass with four members, registered by `@wmplan.register_reader("name")`:

    recognises(path)                        whether the file or folder is in its format
    __init__(path, task)                    sets `lengths`, `columns`, `files` and, at its end, `meta`
    read(episode, name, start, stop)        rows of a column
    close()                                 where it keeps files open

Columns have one meaning in every format: `pixels` uint8 RGB (H, W, 3), `action` (A,) what was executed after a row was
seen (NaN in an episode's last), in the robot's own units; and, where there are any, `proprio` (P,), `state` (D,) and
`physics_state` (N,) floats. Writing is wmplan's own format's.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from wmplan.data.cameras import choose_cameras
from wmplan.data.finite import first_not_finite
from wmplan.data.meta import DataError, StoreMeta
from wmplan.registry import READERS

Columns = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]


class Reader(ABC):
    """Episodes numbered from 0, and rows numbered through all episodes.

    Attributes:
        lengths: rows of each episode, of shape (E,); one more than its robot steps.
        columns: (shape of a row, dtype) by name.
        files: every file that rows come from: a training run is identified by their content.
        meta: what is known of the data; describe(self, task) of wmplan.data.formats reads off what columns tell.
        unusable: why other things are no columns, by name; goes on from "column 'NAME' ".
        cameras: the columns that hold frames.
        decodes: whether frames are decoded from videos or pictures, which takes longer than reading them.
    """

    lengths: NDArray[np.int64]
    columns: Columns
    files: list[Path]
    meta: StoreMeta
    unusable: Mapping[str, str] = {}
    cameras: tuple[str, ...] = ("pixels",)
    decodes: bool = False

    @classmethod
    @abstractmethod
    def recognises(cls, path: Path) -> bool:
        """Whether a file or folder is in this format; it is only looked at."""

    @classmethod
    def open(cls, path: str | Path, *, task: str | None = None, allow_nan: bool = False, **options: Any) -> Reader:
        """Open a data set; `task` is the Gymnasium id that it has to be of, where it says, or is taken to be of.

        Args:
            allow_nan: take actions that are not finite, to look at them.
            options: keyword arguments of the constructor: camera="top", cameras=["top", "wrist"]. A reader that does
                not take cameras has to have columns of frames of these names.

        Raises:
            DataError: where it cannot be read, or is of another task.
        """
        known = inspect.signature(cls.__init__).parameters.keys()
        named = None if "cameras" in known else options.pop("cameras", None)
        if unknown := options.keys() - known:
            raise DataError(f"{path}: the reader {cls.__name__} does not take {', '.join(sorted(unknown))}")
        store = cls(Path(path), task, **options)  # type: ignore[call-arg]  # a subclass's constructor
        if named is not None:
            store.cameras = tuple(choose_cameras(None, named, store.possible_cameras, Path(path)))
        if not allow_nan:
            store.require_finite_actions()
        return store

    @abstractmethod
    def read(self, episode: int, name: str, start: int, stop: int) -> NDArray[Any]:
        """Rows start to stop of a column of one episode, (stop - start, *shape)."""

    def close(self) -> None:  # noqa: B027  what keeps nothing open has nothing to close
        """Close what is open; it is opened again when it is needed."""

    # ------------------------------------------------------------------ what follows from these

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """First row of each episode, of shape (E,)."""
        return np.cumsum(self.lengths) - self.lengths

    @property
    def num_rows(self) -> int:
        """Rows of all episodes."""
        return int(self.lengths.sum())

    @property
    def possible_cameras(self) -> list[str]:
        """Columns that could be a camera's frames, by their shape: uint8 (H, W, 3)."""
        of_frames = [len(shape) == 3 and shape[2] == 3 and dtype == np.uint8 for shape, dtype in self.columns.values()]
        return [name for name, fits in zip(self.columns, of_frames, strict=True) if fits]

    @property
    def name(self) -> str:
        """What messages call it: its first file."""
        return str(self.files[0])

    def path_of(self, episode: int) -> Path:
        """The file that holds an episode, for messages."""
        return self.files[0]

    def column_problem(self, name: str) -> str | None:
        """Why a column cannot be read, in one line that names the file; None where it can."""
        if name in self.columns:
            return None
        if name in self.unusable:
            return f"{self.name}: column {name!r} {self.unusable[name]}"
        return f"{self.name} has no column {name!r}; it has {', '.join(self.columns)}"

    def require_column(self, name: str) -> None:
        """Raise a DataError unless the column can be read."""
        if (problem := self.column_problem(name)) is not None:
            raise DataError(problem)

    def require_finite_actions(self) -> None:
        """Raise a DataError that names the episode and step of the first action that is not finite."""
        for episode, step in first_not_finite("action", self.column("action"), self.lengths):
            raise DataError(
                f"{self.path_of(episode)}: column 'action' of episode {episode} at step {step} is not finite; remove "
                "that episode or mend it"
            )

    def episode(
        self, index: int, columns: Iterable[str] | None = None, start: int = 0, stop: int | None = None
    ) -> dict[str, NDArray[Any]]:
        """Rows start to stop of one episode: column name -> (rows, ...); all columns where none are named."""
        if not 0 <= index < len(self):
            raise IndexError(f"there is no episode {index}, the data set has {len(self)}")
        start, stop, _ = slice(start, stop).indices(int(self.lengths[index]))
        return {name: self.read(index, name, start, stop) for name in columns or self.columns}

    def column(self, name: str, episodes: Iterable[int] | None = None, *, progress: bool = False) -> NDArray[Any]:
        """A whole column in memory, of shape (rows, ...): of all episodes, or of those named, in their order.

        With `progress`, a bar is shown on a terminal.

        Raises:
            DataError: where there is no such column, or an episode does not have the rows that it should.
        """
        chosen = np.arange(len(self)) if episodes is None else np.asarray(list(episodes), np.int64)
        self.require_column(name)
        shape, dtype = self.columns[name]
        values = np.empty((int(self.lengths[chosen].sum()), *shape), dtype)
        row = 0
        for index in tqdm(chosen.tolist(), f"read {name}", unit="ep", disable=None if progress else True):
            length = int(self.lengths[index])
            rows = np.asarray(self.read(index, name, 0, length))
            if rows.shape != (length, *shape):
                raise DataError(
                    f"{self.path_of(index)}: column {name!r} of episode {index} must have the shape "
                    f"{(length, *shape)}, got {rows.shape}"
                )
            values[row : row + length] = rows
            row += length
        return values


OWN = ("shards", "lerobot", "robomimic", "zarr", "videos")
"""wmplan's own readers: they are asked before any plug-in is loaded."""


def open_data(path: str | Path, *, task: str | None = None, allow_nan: bool = False, **options: Any) -> Reader:
    """Open a data set in the format that recognises it, or that is named: FORMAT:PATH.

    Args:
        path: a folder or file; lerobot:PATH is read by the reader registered as "lerobot".
        task: Gymnasium id that the data has to be of, or is taken to be of where it does not say.
        allow_nan: take actions that are not finite, to look at them.
        options: of the format's reader: camera="top" of several, or cameras=["top", "wrist"]. None stands for what is
            left out.

    Raises:
        DataError: where there is no data set, or it is damaged or of another task.
    """
    options = {name: value for name, value in options.items() if value is not None}
    named, colon, rest = str(path).partition(":")
    if colon and not Path(path).exists() and named in READERS:
        return READERS[named].open(rest, task=task, allow_nan=allow_nan, **options)  # type: ignore[no-any-return]
    kind = READERS["shards"]  # which says what it looks for, where nobody recognises anything
    if Path(path).exists():
        own = (READERS[name] for name in OWN)
        others = (READERS[name] for name in READERS if name not in OWN)
        kind = next((one for one in chain(own, others) if one.recognises(Path(path))), kind)
    return kind.open(path, task=task, allow_nan=allow_nan, **options)  # type: ignore[no-any-return]
