"""Time that passes only when the robot says so, so that a run with a planning thread can be repeated exactly."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class SimulatedClock:
    """Time for the robot's thread, which moves it on, and the planning thread, which waits in it.

    sleep_until() moves time on from one event to the next: wherever the planning thread's wait ends on the way, time
    stands still until that thread waits again or has nothing to do. So what one thread does never depends on how fast
    the other one really is.

    Args:
        idle: whether the planning thread has nothing to do: no request waits, and none is being answered.

    Attributes:
        running: whether wait() waits. It does not before the start of an episode, when the robot's own thread waits
            for the planner.
    """

    def __init__(self, idle: Callable[[], bool] = lambda: True) -> None:
        self.idle, self.running = idle, False
        self._now = 0.0
        self._waiting: list[float] = []  # when the waits end
        self._changed = threading.Condition()

    def __call__(self) -> float:
        return self._now

    def sleep_until(self, moment: float) -> None:
        """Move on to `moment`, letting the planning thread do on the way what it would have done by then."""
        while True:
            self.settle()
            with self._changed:
                due = min(self._waiting, default=moment)
                if not self._waiting or due > moment:
                    self._now = max(self._now, moment)
                    return
                self._now = max(self._now, due)
                self._waiting.remove(due)
                self._changed.notify_all()

    def settle(self) -> None:
        """Wait, in real time, until the planning thread waits for time to pass or for something to do."""
        while not self._waiting and not self.idle():
            time.sleep(2e-5)

    def wait(self, seconds: float) -> None:
        """Wait until so much time has passed; for the planning thread."""
        if not self.running or seconds <= 0:
            return
        with self._changed:
            due = self._now + seconds
            self._waiting.append(due)
            self._changed.wait_for(lambda: due not in self._waiting)

    def stop(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self.running = False
            self._waiting.clear()
            self._changed.notify_all()
