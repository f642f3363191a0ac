"""Windows of frames for training, in an order that depends on the seed alone and can be taken up again anywhere."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmplan.data.finite import first_not_finite
from wmplan.data.meta import DataError
from wmplan.data.reader import Reader

MEMORY_BYTES = 8 << 30  # larger data sets are read from the disk, unless told otherwise
GROUP_BYTES = 1 << 30  # of the episodes that are read together then; two such groups are in memory at a time


def split_episodes(
    episodes: int, validation: float = 0.05, seed: int = 0, *, usable: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(training, validation) episode numbers, each sorted and without overlap; at least one on either side.

    An episode stays on its side when the data set grows: the side is drawn for each number by itself, the
    sides then being close to the share asked for.

    Args:
        usable: which episodes are long enough to be of use, of shape (episodes,); all where left out. Where there are
            two of them, either side has one.

    Raises:
        DataError: at fewer than two episodes or a share outside (0, 1).
    """
    if not 0.0 < validation < 1.0:
        raise DataError(f"validation must be a share between 0 and 1, got {validation}")
    if episodes < 2:
        raise DataError(f"the data set has {episodes} episodes, to train and to validate takes at least 2")
    draws = np.random.default_rng([seed, 0x5B117]).random(episodes)  # a longer draw begins with the shorter one
    chosen = draws < validation
    of_use = np.flatnonzero(usable) if usable is not None and usable.sum() >= 2 else np.arange(episodes)
    if not chosen[of_use].any():
        chosen[of_use[np.argmin(draws[of_use])]] = True
    if chosen[of_use].all():
        chosen[of_use[np.argmax(draws[of_use])]] = False
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


class WindowSampler:
    """Endless batches of windows: T frames of one episode, `stride` robot steps apart, and the actions between them.

    A batch holds `pixels`, or other cameras' frames, uint8 (N, T, H, W, 3), `proprio` float32 (N, T, P) and `action`
    float32 (N, T - 1, stride * action_dim), each block's robot steps oldest first; any other column as (N, T, ...).
    Each epoch goes over every window once, but for those that do not fill its last batch.

    From memory, an epoch is one shuffle of all windows. From the disk, the episodes are shuffled and read in groups of
    `group` episodes, one ahead, and the windows are shuffled within a group; each episode is read once an epoch.

    Args:
        store: the data.
        frames: T.
        stride: robot steps between two frames of a window: the model's action_block.
        batch_size: N.
        seed: of the order.
        episodes: those to draw from; all where left out.
        columns: what a batch holds.
        extra: more columns in memory, name -> (store.num_rows, ...), aligned with the rows of the store: latents.
        rows: first and last but one of the rows of each batch that are given; all where left out. The order, and where
            the stream stands, do not depend on it.
        whole: columns that are given of all rows in any case.
        memory: hold the columns in memory; None for yes, if they take less than 8 GiB.
        group: episodes that are shuffled together when reading from the disk; fewer where they are larger than
            GROUP_BYTES.

    Raises:
        DataError: where no episode is long enough, a column is missing, or an action or a state is not finite.
    """

    def __init__(
        self,
        store: Reader,
        frames: int,
        stride: int,
        batch_size: int,
        seed: int = 0,
        *,
        episodes: Iterable[int] | None = None,
        columns: Sequence[str] = ("pixels", "action", "proprio"),
        extra: Mapping[str, NDArray[Any]] | None = None,
        rows: tuple[int, int] | None = None,
        whole: Sequence[str] = (),
        memory: bool | None = None,
        group: int = 128,
    ) -> None:
        for name, value in {"frames": frames, "stride": stride, "batch_size": batch_size, "group": group}.items():
            if value < 1:
                raise DataError(f"{name} must be at least 1, got {value}")
        self.store, self.frames, self.stride, self.batch_size, self.seed = store, frames, stride, batch_size, seed
        self.extra = dict(extra or {})
        self.rows, self.whole = rows or (0, batch_size), frozenset(whole)
        self.columns = tuple(name for name in columns if name not in self.extra)
        for name in self.columns:
            store.require_column(name)
            if store.columns[name][1].kind not in "fiub":
                raise DataError(f"{store.name}: column {name!r} holds {store.columns[name][1]}, a window takes numbers")
        for name, values in self.extra.items():
            if len(values) != store.num_rows:
                raise DataError(f"the extra column {name!r} has {len(values)} rows, the data set has {store.num_rows}")
        chosen = np.arange(len(store)) if episodes is None else np.asarray(list(episodes), np.int64)
        starts = np.maximum(store.lengths[chosen] - (frames - 1) * stride, 0)
        self.episodes, self._starts = chosen[starts > 0], starts[starts > 0]
        """Episodes that are long enough, and the number of windows in each."""
        if self.num_batches < 1:
            raise DataError(
                f"the data has {self.num_windows} windows of {frames} frames at a stride of {stride}, too few for one "
                f"batch of {batch_size}: collect more or longer episodes, or ask for fewer frames"
            )
        row_bytes = sum(self._row_bytes(name) for name in self.columns)
        size, largest = (row_bytes * int(of(store.lengths[self.episodes])) for of in (np.sum, np.max))
        self.memory = size < MEMORY_BYTES if memory is None else memory
        self.group = len(self.episodes) if self.memory else max(1, min(group, GROUP_BYTES // max(largest, 1)))
        if store.decodes and not self.memory and set(store.cameras) & set(self.columns):
            warnings.warn(
                f"{store.name}: frames are decoded anew in every epoch, for they take {size / 1e9:.0f} GB in memory; "
                "decode them once with wmplan data convert",
                stacklevel=2,
            )
        self._epoch, self._batch = 0, 0
        self._reader = ThreadPoolExecutor(1, "windows")
        self._whole: dict[str, NDArray[Any]] | None = None
        if self.memory:
            self._whole = self._load(self.episodes)

    @property
    def num_windows(self) -> int:
        """Windows in the data."""
        return int(self._starts.sum())

    @property
    def num_batches(self) -> int:
        """Batches in an epoch."""
        return self.num_windows // self.batch_size

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands: after the last batch that was handed out."""
        return {"epoch": self._epoch, "batch": self._batch, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken.

        Raises:
            DataError: where it was taken from another order: other data, seed, batch size or window.
        """
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise DataError(f"cannot go on: the data was read with {name}={state.get(name)}, now it is {value}")
        self._epoch, self._batch = int(state["epoch"]), int(state["batch"])

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Batches without end, from where the stream stands."""
        while True:
            for batch in self._batches(self._epoch, self._batch, self.num_batches * self.batch_size):
                self._batch += 1
                if self._batch == self.num_batches:
                    self._epoch, self._batch = self._epoch + 1, 0
                yield batch

    def once(self) -> Iterator[dict[str, Tensor]]:
        """Every window once, the last batch being smaller; does not move the stream."""
        yield from self._batches(0, 0, self.num_windows)

    # ------------------------------------------------------------------ the order

    def _groups(self, epoch: int) -> list[NDArray[np.int64]]:
        """Positions in self.episodes that are read together, in the epoch's order."""
        if self.memory:
            return [np.arange(len(self.episodes))]
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.episodes))
        return [order[first : first + self.group] for first in range(0, len(order), self.group)]

    def _windows(self, epoch: int, number: int, members: NDArray[np.int64]) -> NDArray[np.int64]:
        """First rows of the group's windows, counted from the group's first row, in the epoch's order."""
        lengths = self.store.lengths[self.episodes[members]]
        first, counts = np.cumsum(lengths) - lengths, self._starts[members]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.random.default_rng([self.seed, epoch, number]).permutation(np.repeat(first, counts) + within)

    def _batches(self, epoch: int, batch: int, stop: int) -> Iterator[dict[str, Tensor]]:
        """Batches of one epoch from number `batch` on, of its first `stop` windows."""
        groups = self._groups(epoch)
        sizes = np.array([self._starts[members].sum() for members in groups])
        skip = batch * self.batch_size
        number = int(np.searchsorted(np.cumsum(sizes), skip, side="right"))  # the group of the first window
        skip, left = skip - int(sizes[:number].sum()), stop - skip
        pieces: list[dict[str, Tensor]] = []
        wanted = size = min(self.batch_size, left)
        ahead = self._read(groups, number)
        while left > 0:
            rows, ahead = ahead.result(), self._read(groups, number + 1)
            windows = self._windows(epoch, number, groups[number])[skip:]
            while len(windows) and left > 0:
                place = size - wanted
                first, last = (min(max(row - place, 0), wanted) for row in self.rows)
                pieces.append(self._gather(rows, windows[:wanted], slice(first, last)))
                taken = min(wanted, len(windows))
                windows, wanted, left = windows[taken:], wanted - taken, left - taken
                if wanted == 0:
                    yield {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
                    pieces, wanted = [], min(self.batch_size, left)
                    size = wanted
            skip, number = 0, number + 1

    # ------------------------------------------------------------------ the rows

    def _read(self, groups: list[NDArray[np.int64]], number: int) -> Future[dict[str, NDArray[Any]]]:
        """The rows of a group, being read by the reader's thread; nothing past the last group."""
        if self._whole is not None or number >= len(groups):
            return self._reader.submit(lambda: self._whole or {})
        return self._reader.submit(self._load, self.episodes[groups[number]])

    def _load(self, episodes: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The columns of some episodes, one after the other: name -> (rows, ...)."""
        rows = {name: self.store.column(name, episodes, progress=self.memory) for name in self.columns}
        offsets, lengths = self.store.offsets[episodes], self.store.lengths[episodes]
        for name in self.columns:
            if rows[name].dtype.kind == "f":
                if name != "physics_state":
                    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite then, and named
                        rows[name] = rows[name].astype(np.float32, copy=False)
                for at, step in first_not_finite(name, rows[name], lengths):
                    raise DataError(
                        f"{name} of episode {episodes[at]} at step {step} is not finite; remove that episode or mend it"
                    )
        for name, values in self.extra.items():
            taken = [values[offset : offset + length] for offset, length in zip(offsets, lengths, strict=True)]
            rows[name] = np.concatenate(taken)
        return rows

    def _row_bytes(self, name: str) -> int:
        shape, dtype = self.store.columns[name]
        return int(np.prod(shape)) * dtype.itemsize

    def _identity(self) -> dict[str, Any]:
        """What the order depends on."""
        return {
            "seed": self.seed,
            "batch_size": self.batch_size,
            "frames": self.frames,
            "stride": self.stride,
            "windows": self.num_windows,
            "episodes": f"{len(self.episodes)} with checksum {zlib.crc32(self.episodes.tobytes()):08x}",
            "group": self.group,
        }

    def _gather(self, rows: dict[str, NDArray[Any]], windows: NDArray[np.int64], own: slice) -> dict[str, Tensor]:
        batch, every = {}, windows
        steps = np.arange(self.frames) * self.stride
        for name, values in rows.items():
            windows = every if name in self.whole else every[own]
            if name == "action":
                robot_steps = windows[:, None] + np.arange((self.frames - 1) * self.stride)
                blocks = values[robot_steps]  # (N, (T - 1) * stride, a)
                shape = (len(windows), self.frames - 1, self.stride * blocks.shape[2])
                batch[name] = torch.from_numpy(blocks.reshape(shape))
            else:
                batch[name] = torch.from_numpy(values[windows[:, None] + steps])  # (N, T, ...)
        return batch
