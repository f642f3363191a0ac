"""What this machine is called and has, and whether other programs use it too."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

UNKNOWN = "unknown"
"""Version of a package that is there without its metadata: a folder of sources on the path."""


def installed_version(name: str) -> str:
    """The version of a distribution, UNKNOWN where none is installed."""
    try:
        found: str | None = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return UNKNOWN
    return found or UNKNOWN


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


MOST_THREADS = 1024
"""That torch is asked for, and processes: where they cannot be made, libraries end the process."""


def available_memory() -> int:
    """Bytes that the machine can give without swapping; a gigabyte where the system does not tell."""
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 1 << 30


def free_memory() -> int:
    """Bytes that this process may still take: what is available, within the limits of its container and its shell."""
    free = [available_memory()]
    limit = next(iter(_lines("/sys/fs/cgroup/memory.max")), "max")
    if limit != "max":
        used = int(next(iter(_lines("/sys/fs/cgroup/memory.current")), 0))
        statistics = dict(line.split() for line in _lines("/sys/fs/cgroup/memory.stat"))
        free.append(int(limit) - used + int(statistics.get("inactive_file", 0)))  # the files' cache makes room
    try:
        import resource
    except ImportError:  # not on Windows
        return free[0]
    address_space = resource.getrlimit(resource.RLIMIT_AS)[0]
    pages = next(iter(_lines("/proc/self/statm")), None)
    if address_space != resource.RLIM_INFINITY and pages is not None:
        free.append(address_space - int(pages.split()[0]) * resource.getpagesize())
    return max(0, min(free))


def _lines(path: str) -> list[str]:
    """Lines of one of the system's files, none where it has no such file."""
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


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
