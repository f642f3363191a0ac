"""Numbers that are not finite, found and named by episode and step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def not_finite(columns: Mapping[str, NDArray[Any]]) -> list[tuple[str, int]]:
    """(column, step) of the first number that is not finite in each float column of one episode."""
    found = []
    for name, values in columns.items():
        if values.dtype.kind == "f":
            found += [(name, step) for _, step in first_not_finite(name, values, np.array([len(values)]))]
    return found


def first_not_finite(name: str, rows: NDArray[Any], lengths: NDArray[np.int64]) -> list[tuple[int, int]]:
    """(episode, step) of the first number in a column that is not finite; nothing where all are.

    The action of each episode's last row is left out: there is none, and the public data sets have NaN there.

    Args:
        name: of the column.
        rows: of the episodes one after the other, of shape (rows, ...).
        lengths: rows of each episode, of shape (E,).
    """
    bad = ~np.isfinite(rows).all(axis=tuple(range(1, rows.ndim)))
    ends = np.cumsum(lengths)
    if name == "action":
        bad[ends[lengths > 0] - 1] = False
    if not bad.any():
        return []
    row = int(bad.argmax())
    episode = int(np.searchsorted(ends, row, side="right"))
    return [(episode, row - int(ends[episode] - lengths[episode]))]
