"""The time of a search: what it took, and when a deadline ends it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from wmplan.errors import UserError


class SearchClock:
    """Runs from when it is made.

    Args:
        deadline_ms: when another iteration has to have ended; None for no deadline.

    Raises:
        ValueError: unless the deadline is at least 0.
    """

    def __init__(self, deadline_ms: float | None) -> None:
        self._started = time.perf_counter()
        if deadline_ms is not None and not deadline_ms >= 0:
            raise UserError(f"deadline_ms must be at least 0, got {deadline_ms}")
        self._deadline_ms = deadline_ms
        self._longest, self._slowest, self._iterations = 0.0, 0.0, 0

    def iterations(
        self, most: int, candidates: Callable[[int], int], wait: Callable[[], object] = lambda: None
    ) -> Iterator[int]:
        """Iterations 0 ... most - 1, ended before one that would probably end too late; the first is always run.

        Args:
            candidates: how many an iteration scores: its time is taken to be in proportion.
            wait: for what a device still does; called after each iteration where there is a deadline, which is kept by
                the time that iterations take.
        """
        left = None if self._deadline_ms is None else self._deadline_ms / 1e3
        for iteration in range(most):
            begun = time.perf_counter()
            expected = self._slowest * candidates(iteration)
            if iteration and left is not None and begun - self._started + expected > left:
                return
            yield iteration
            if left is not None:
                wait()
            took = time.perf_counter() - begun
            self._iterations += 1
            self._longest, self._slowest = max(self._longest, took), max(self._slowest, took / candidates(iteration))

    @property
    def is_late(self) -> bool:
        """Whether the deadline is over."""
        return self._deadline_ms is not None and self._spent_ms() > self._deadline_ms

    def _spent_ms(self) -> float:
        return 1e3 * (time.perf_counter() - self._started)

    def diagnostics(self) -> dict[str, Any]:
        """What Plan.diagnostics says of the time."""
        spent = self._spent_ms()
        told = {"iterations": self._iterations, "plan_ms": spent, "iteration_ms": 1e3 * self._longest}
        if self._deadline_ms is not None:
            told["overrun_ms"] = max(0.0, spent - self._deadline_ms)
        return told
