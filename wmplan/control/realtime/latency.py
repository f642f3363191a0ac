"""How long planning is going to take."""

from __future__ import annotations

from collections import deque

import numpy as np

WINDOW = 100


class PlanningTime:
    """A high quantile of the newest planning times.

    Args:
        first: what is expected before there is any.
        quantile: from 0 to 1.
        warmup: the first so many do not count: they load and compile.
    """

    def __init__(self, first: float, quantile: float, warmup: int) -> None:
        self.first, self.quantile = first, quantile
        self._left = warmup
        self._recent: deque[float] = deque(maxlen=WINDOW)

    def add(self, seconds: float) -> bool:
        """One more planning time; False where it was a warm-up."""
        if self._left:
            self._left -= 1
            return False
        self._recent.append(seconds)
        return True

    @property
    def expected(self) -> float:
        """Seconds. One long hiccup alone does not count: no value is interpolated towards it."""
        if not self._recent:
            return self.first
        return float(np.quantile(np.array(self._recent), self.quantile, method="lower"))
