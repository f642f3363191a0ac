"""What a result was measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime

from wmplan.machine import cores, installed_version, processor

PACKAGES = ("torch", "numpy", "mujoco", "gymnasium", "scipy")


def machine(workers: int, processors: Iterable[str] = ()) -> dict[str, str | int | None]:
    """The processor, and how it was used.

    Args:
        processors: of the machines that did the work, where it was not this one.
    """
    return {
        "processor": ", ".join(sorted(processors)) or processor(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "gl": os.environ.get("MUJOCO_GL"),
        "workers": workers,
        "threads_a_worker": 1,
    }


def versions(packages: Iterable[str] = ()) -> dict[str, str]:
    """Of wmplan, Python and what the figures depend on, the environment's own packages among it."""
    installed = {name: installed_version(name) for name in dict.fromkeys((*PACKAGES, *packages))}
    return {"wmplan": installed_version("wmplan"), "python": platform.python_version(), **installed}


def date() -> str:
    """The present, to the second, in UTC: 2026-01-31T12:00:00Z."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
