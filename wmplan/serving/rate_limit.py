"""Holds a session to its rate of messages."""

from __future__ import annotations

import math

BURST_SECONDS = 0.25  # of messages that may come at once


class Throttle:
    """Says how long the next message has to wait, so that in the long run no more than `rate` a second are taken."""

    def __init__(self, rate: float) -> None:
        self.every = 1 / rate
        self.due = -math.inf  # when the next message would come if all came evenly

    def wait(self, now: float) -> float:
        """Seconds to wait before the next message is taken, one having just been taken at `now`."""
        self.due = max(self.due, now) + self.every
        return max(0.0, self.due - now - BURST_SECONDS)
