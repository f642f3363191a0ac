"""A clock that gives a usable time whatever it is asked through."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from wmplan.control.realtime.telemetry import described
from wmplan.errors import UserError

BACK = 0.1  # seconds that a clock may be set back: time then stands still until it has caught up
LONGEST_LEAP = 1e9  # seconds between two looks at it


class CheckedClock:
    """Seconds of another clock, which never raise, are finite and never run backwards.

    Where the other clock fails, the time is that of before, and `fault` says what was wrong until restart().

    Raises:
        ValueError: if it is no clock from the start.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        if not callable(clock):
            raise UserError(f"clock must be a function that gives seconds, got {clock!r}")
        self.clock, self.fault = clock, None  # type: Callable[[], float], str | None
        self._lock = threading.Lock()
        self._time: float | None = None
        self()
        if self.fault is not None:
            raise UserError(f"clock: {self.fault}")

    def __call__(self) -> float:
        """The time."""
        with self._lock:
            now, fault = self._read()
            if fault is not None:
                self.fault = fault
            elif self._time is None or now > self._time:
                self._time = now
            return 0.0 if self._time is None else self._time

    def restart(self) -> None:
        """Take the time that it shows now, be it earlier than before."""
        with self._lock:
            before, self._time = self._time, None
            now, self.fault = self._read()
            self._time = before if self.fault is not None else now

    def _read(self) -> tuple[float, str | None]:
        try:
            now = float(self.clock())
        except Exception as error:
            return math.nan, f"the clock cannot be read: {described(error)}"
        if not math.isfinite(now):
            return now, f"the clock shows {now}"
        if self._time is not None and now < self._time - BACK:
            return now, f"the clock went back by {self._time - now:.3g} s"
        if self._time is not None and now > self._time + LONGEST_LEAP:
            return now, f"the clock leapt by {now - self._time:.3g} s"
        return now, None
