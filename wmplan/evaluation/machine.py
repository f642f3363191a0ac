"""What a result was measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

PACKAGES = ("torch", "numpy", "mujoco", "gymnasium", "scipy")


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(workers: int) -> dict[str, str | int | None]:
    """The processor, and how it was used."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "gl": os.environ.get("MUJOCO_GL"),
        "workers": workers,
        "threads_a_worker": 1,
    }


def versions() -> dict[str, str]:
    """Of wmplan, Python and what the figures depend on."""
    installed = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"wmplan": importlib.metadata.version("wmplan"), "python": platform.python_version(), **installed}


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
