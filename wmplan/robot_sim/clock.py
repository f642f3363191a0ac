"""The time that the robot, its camera and its controller share."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds that only go forward."""

    def __call__(self) -> float:
        """The present time, s."""
        ...

    def sleep_until(self, moment: float) -> None:
        """Return at `moment`, or at once where it has passed."""


class WallClock:
    """time.monotonic."""

    def __call__(self) -> float:
        return time.monotonic()

    def sleep_until(self, moment: float) -> None:
        left = moment - time.monotonic()
        if left > 0:
            time.sleep(left)
