"""What this machine is called and has, and whether other programs use it too."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor's name as its maker gives it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


class CoreWait:
    """How much of the time that its threads could have run this process waited for a core, since this was made.

    Timings taken meanwhile are longer than on an idle machine by about that share. Linux counts it thread by thread
    (/proc/self/task/*/schedstat: nanoseconds run, and waited in a run queue); threads that have ended do not count.
    """

    BUSY = 0.15
    """Share above which timings say more about the other programs than about this one."""

    def __init__(self) -> None:
        self._start = _run_and_waited()

    def share(self) -> float | None:
        """Share of the time, from 0 to 1; None where the system does not tell."""
        now = _run_and_waited()
        if now is None or self._start is None:
            return None
        run, waited = (max(0, after - before) for after, before in zip(now, self._start, strict=True))
        return waited / (run + waited) if run + waited else 0.0

    def warning(self) -> str | None:
        """A clause that warns of timings taken meanwhile, None on an idle machine."""
        share = self.share()
        if share is None or share < self.BUSY:
            return None
        return f"other programs use the processor: {100 * share:.0f} % of the time was spent waiting for a core"


def _run_and_waited() -> tuple[int, int] | None:
    """Nanoseconds that the threads of this process ran, and that they waited for a core."""
    run = waited = 0
    for file in Path("/proc/self/task").glob("*/schedstat"):
        try:
            fields = file.read_text().split()
        except OSError:  # the thread has just ended
            continue
        run, waited = run + int(fields[0]), waited + int(fields[1])
    return (run, waited) if run else None
