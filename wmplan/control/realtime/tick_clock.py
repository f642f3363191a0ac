"""Which control tick a call of act() is, by the clock: calls that come too often or too seldom change no speed."""

from __future__ import annotations

import math

SLACK = 3.0
"""Control ticks by which the calls may be ahead of the clock, or behind it, before one is held back or left out."""
OFF_RATE = 1.2
"""By what factor the calls' rate has to differ from the one that was told for a complaint."""
FEW, MANY = 10, 32
"""Calls before the first complaint, and over which the rate is averaged."""
LONGEST_INTERVAL = 3.0  # control ticks: more than that is a pause, which says nothing of the rate


class TickClock:
    """Counts control ticks by the time that passed between calls.

    A call counts as as many ticks as periods have passed since the last one that counted, to the nearest: a call that
    comes before half a period has passed counts as none. So a call that jitters by less than half a period still is
    one tick. Where the rounding adds up, as it does for calls that are always a little too early, the count is kept
    within SLACK ticks of the clock.

    Args:
        rate: ticks in a second.

    Attributes:
        interval: seconds between the newest two calls; None before there are two.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.reset()

    def reset(self) -> None:
        """Begin again: the next call is the first tick."""
        self.interval: float | None = None
        self._newest: float | None = None  # when the newest call was, in seconds
        self._elapsed = 0.0  # ticks by the clock since the first call
        self._counted = 0  # ticks counted since the first call
        self._elapsed_then = 0.0  # ticks by the clock at the last call that counted
        self._calls, self._mean = 0, 1.0  # intervals seen, and their mean in ticks

    def count(self, now: float) -> int:
        """A call at time `now`: how many ticks have begun since the last one that counted, 0 for a call too early."""
        if self._newest is None:
            self._newest = now
            return 1
        self.interval, self._newest = now - self._newest, now
        passed = self.interval * self.rate
        self._elapsed += passed
        self._calls += 1
        self._mean += (min(passed, LONGEST_INTERVAL) - self._mean) / min(self._calls, MANY)
        wanted = self._counted + math.floor(self._elapsed - self._elapsed_then + 0.5)
        most = max(self._counted, math.floor(self._elapsed + SLACK))
        ticks = min(max(wanted, math.ceil(self._elapsed - SLACK)), most) - self._counted
        if ticks:
            self._counted, self._elapsed_then = self._counted + ticks, self._elapsed
        return ticks

    def waited(self, seconds: float) -> None:
        """The call itself waited so long, with the robot at rest: that time does not count."""
        if self._newest is not None:
            self._newest += seconds

    @property
    def complaint(self) -> str | None:
        """That the calls come at another rate than was told, None where they do not."""
        if self._calls < FEW or 1 / OFF_RATE <= self._mean <= OFF_RATE:
            return None
        if self._mean <= 0:
            return "act() is called although the clock stands still"
        called = self.rate / self._mean
        return f"act() is called {called:.3g} times a second, control_rate says {self.rate:g}"
