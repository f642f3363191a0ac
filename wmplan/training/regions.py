"""Regions of a task's states, so that a corner where an encoder tells poses apart poorly is seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.errors import UserError

FEWEST = 10  # states in a region whose errors are told


@dataclass(frozen=True)
class Region:
    """States for which the norm of some entries lies in an interval.

    Attributes:
        entries: names of entries of the task's state, whose norm is taken: the distance from the middle of a table.
        above, below: the interval's ends, in the entries' unit; None for no end.
    """

    entries: tuple[str, ...]
    above: float | None = None
    below: float | None = None

    def holds(self, states: NDArray[Any], names: Sequence[str]) -> NDArray[np.bool_]:
        """Which of the states (N, D) lie in it; `names` are of their D entries.

        Raises:
            UserError: if the states have no such entry.
        """
        for entry in self.entries:
            if entry not in names:
                raise UserError(f"regions: entries must be among {', '.join(names)}, got {entry!r}")
        norm = np.linalg.norm(states[:, [names.index(entry) for entry in self.entries]], axis=1)
        inside: NDArray[np.bool_] = (norm > (self.above if self.above is not None else -1)) & (
            norm < (self.below if self.below is not None else np.inf)
        )
        return inside


def errors_by_region(
    errors: NDArray[Any], states: NDArray[Any], names: Sequence[str], regions: Mapping[str, Region]
) -> dict[str, dict[str, list[float]]]:
    """Median and 90 % quantile of errors (N, D) of states (N, D): entry -> region -> the two; "all" is a region.

    A region with fewer than FEWEST states is left out.
    """
    held = {"all": np.ones(len(states), bool)} | {name: one.holds(states, names) for name, one in regions.items()}
    return {
        entry: {
            name: [round(float(q), 4) for q in np.quantile(errors[inside, column], (0.5, 0.9))]
            for name, inside in held.items()
            if inside.sum() >= FEWEST
        }
        for column, entry in enumerate(names)
    }
