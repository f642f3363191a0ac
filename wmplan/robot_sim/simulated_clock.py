"""Time that passes only when the robot says so, so that hundreds of runs take seconds and each can be repeated."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable


class SimulatedClock:
    """Time, and what is to happen at which time; all on one thread."""

    def __init__(self) -> None:
        self._now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()  # events of the same time happen in the order in which they were told

    def __call__(self) -> float:
        return self._now

    def at(self, moment: float, event: Callable[[], None]) -> None:
        """Have `event` happen at `moment`."""
        heapq.heappush(self._events, (moment, next(self._numbers), event))

    def sleep_until(self, moment: float) -> None:
        """Move on to `moment`, with all that happens on the way."""
        while self._events and self._events[0][0] <= moment:
            due, _, event = heapq.heappop(self._events)
            self._now = max(self._now, due)
            event()
        self._now = max(self._now, moment)
