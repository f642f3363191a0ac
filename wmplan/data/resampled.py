"""The episodes of any reader at a lower rate: every n-th row, what was done between two of them made one action."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.data.columns import without_last
from wmplan.data.meta import DataError
from wmplan.data.reader import Reader
from wmplan.planning.action_kinds import kinds_of_numbers

SAME_RATE = 0.02  # share by which rates may differ that are meant to be the same: 29.97 Hz is 30


class Resampled(Reader):
    """Every `stride`-th row of each episode, from its first on.

    An action is what was done until the next of these rows: displacements are summed, velocities averaged, and of
    positions, rotations and grippers the last counts.

    Args:
        data: where rows come from.
        stride: rows of it to one.
        kinds: of each number of its actions.
    """

    def __init__(self, data: Reader, stride: int, kinds: Sequence[str]) -> None:
        self.data, self.stride, self.kinds = data, stride, tuple(kinds)
        self.lengths = -(-data.lengths // stride)
        self.columns, self.unusable, self.files = data.columns, data.unusable, data.files
        self.cameras, self.decodes = data.cameras, data.decodes
        told = data.meta
        self.meta = replace(
            told,
            steps=None if told.steps is None else told.steps // stride,
            control_rate=None if told.control_rate is None else told.control_rate / stride,
        )
        low, high = self._bounds()
        self.meta = replace(self.meta, action_low=tuple(low.tolist()), action_high=tuple(high.tolist()))

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Never: it is made of another reader."""
        return False

    @property
    def name(self) -> str:
        """The data's."""
        return self.data.name

    def path_of(self, episode: int) -> Path:
        """The file that holds an episode."""
        return self.data.path_of(episode)

    def read(self, episode: int, name: str, start: int, stop: int) -> NDArray[Any]:
        """Rows start to stop of a column of one episode."""
        first, length = start * self.stride, int(self.data.lengths[episode])
        if name != "action":
            return self.data.read(episode, name, first, max(first, (stop - 1) * self.stride + 1))[:: self.stride]
        rows = self.data.read(episode, name, first, min(stop * self.stride, length))
        lacking = (stop - start) * self.stride - len(rows)  # of the last row, which has no action
        rows = np.concatenate([rows, np.full((lacking, *rows.shape[1:]), np.nan, rows.dtype)])
        return without_last(self._combined(rows), stop == self.lengths[episode])

    def close(self) -> None:
        """Close the data."""
        self.data.close()

    def _combined(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Actions (n * stride, a) as n."""
        blocks = rows.reshape(-1, self.stride, *rows.shape[1:])  # (n, stride, a)
        kinds = np.array(self.kinds)
        made = np.where(kinds == "delta", blocks.sum(1), np.where(kinds == "velocity", blocks.mean(1), blocks[:, -1]))
        return made.astype(rows.dtype, copy=False)

    def _bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of the actions: what the data says of them, or the smallest and largest where it only was looked at."""
        if self.data.meta.policy == "unknown":
            actions = self.column("action")
            actions = actions[np.isfinite(actions).all(1)].astype(np.float64)
            if len(actions):
                return actions.min(0), actions.max(0)
        times = np.where(np.array(self.kinds) == "delta", self.stride, 1)
        low, high = (np.asarray(bound, np.float64) for bound in (self.data.meta.action_low, self.data.meta.action_high))
        return (low * times, high * times) if len(low) == len(high) == len(times) else (low, high)


def rows_to_one(recorded: float | None, wanted: float | None) -> int | None:
    """How many rows of data become one of another rate; None where it is no whole number, 1 where a rate is not known.

    Args:
        recorded, wanted: rows a second.
    """
    if recorded is None or wanted is None or not 0 < recorded < math.inf:
        return 1
    ratio = recorded / wanted
    whole = round(ratio)
    return whole if whole >= 1 and abs(ratio / whole - 1) <= SAME_RATE else None


def at_rate(data: Reader, rate: float | None, kinds: Sequence[str], recorded: float | None = None) -> Reader:
    """Data at `rate` rows a second: the same where it is, or its rate is not known.

    Args:
        kinds: what its actions are, in a form that kinds_of_numbers() takes.
        recorded: rows a second of data that does not say.

    Raises:
        DataError: where that cannot be.
    """
    told = data.meta.control_rate
    if told is not None and recorded is not None and abs(recorded / told - 1) > SAME_RATE:
        raise DataError(f"data_rate is {recorded:g}, but the data was recorded at {told:g}: leave it out")
    if told is None and recorded is not None:
        data.meta = replace(data.meta, control_rate=recorded)
        told = recorded
    stride = rows_to_one(told, rate)
    if stride is None:
        raise DataError(
            f"control_rate is {rate:g}, but the data was recorded at {told:g}: it must be that, or that over a whole "
            "number"
        )
    if stride == 1 or "action" not in data.columns:
        return data
    if not kinds:
        raise DataError(
            f"control_rate is {rate:g} and the data was recorded at {told:g}: {stride} of its rows become one, so that "
            "action_kind must say what its actions are"
        )
    return Resampled(data, stride, kinds_of_numbers(kinds, data.columns["action"][0][-1]))
