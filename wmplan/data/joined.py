"""Several data sets of one robot, read as one: tasks that it has in common, or what was recorded at several times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.data.meta import DataError
from wmplan.data.reader import Reader

SAME = ("control_rate", "action_names", "proprio_names", "state_names")
"""What data sets must say alike, where both say it; and the bounds of their actions, where these are not just seen."""
BOUNDS = ("action_low", "action_high")


class Joined(Reader):
    """The episodes of several readers, one reader after the other.

    Columns are those that all have. `meta` is the first one's, with the episodes of all.

    Args:
        parts: at least one.

    Raises:
        DataError: where they are of different robots.
    """

    def __init__(self, parts: Sequence[Reader]) -> None:
        self.parts, first = list(parts), parts[0]
        for other in self.parts[1:]:
            _require_same(first, other)
        self.lengths = np.concatenate([one.lengths for one in self.parts])
        self.columns = {
            name: told for name, told in first.columns.items() if all(name in one.columns for one in self.parts)
        }
        self.unusable = {name: why for one in self.parts for name, why in one.unusable.items()}
        self.files = [file for one in self.parts for file in one.files]
        self.cameras, self.decodes = first.cameras, any(one.decodes for one in self.parts)
        self._firsts = np.cumsum([0, *(len(one) for one in self.parts)])
        metas = [one.meta for one in self.parts]
        self.meta = replace(
            first.meta,
            episodes=len(self.lengths),
            steps=first.meta.steps if len({one.steps for one in metas}) == 1 else None,
            action_low=tuple(map(min, zip(*(one.action_low for one in metas), strict=True))),
            action_high=tuple(map(max, zip(*(one.action_high for one in metas), strict=True))),
        )

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Never: it is made of other readers."""
        return False

    def path_of(self, episode: int) -> Path:
        """The file that holds an episode."""
        part, own = self._place(episode)
        return part.path_of(own)

    def read(self, episode: int, name: str, start: int, stop: int) -> NDArray[Any]:
        """Rows start to stop of a column of one episode."""
        part, own = self._place(episode)
        return part.read(own, name, start, stop)

    def close(self) -> None:
        """Close all parts."""
        for one in self.parts:
            one.close()

    def _place(self, episode: int) -> tuple[Reader, int]:
        """The part that holds an episode, and its number there."""
        number = int(np.searchsorted(self._firsts, episode, side="right")) - 1
        return self.parts[number], episode - int(self._firsts[number])


def _require_same(first: Reader, other: Reader) -> None:
    """Raise a DataError unless two data sets are of robots that act, feel and look alike."""
    for name in {"action", "proprio", *first.cameras} & set(first.columns):
        if other.columns.get(name) != first.columns[name]:
            held = other.columns.get(name, "nothing")
            raise DataError(f"column {name!r} of {other.name} holds {held}, of {first.name} {first.columns[name]}")
    told = "unknown" not in (first.meta.policy, other.meta.policy)
    for name in (*SAME, *BOUNDS) if told else SAME:
        here, there = getattr(first.meta, name), getattr(other.meta, name)
        if here and there and here != there:
            raise DataError(f"{other.name} has {name} {there}, {first.name} has {here}: they are of different robots")
