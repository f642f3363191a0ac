"""What was measured on."""

from __future__ import annotations

import platform

import torch

import wmplan
from wmplan.machine import cores, processor


def machine(device: str = "cpu") -> dict[str, str | int]:
    """The processor, its cores, torch's threads, and versions."""
    found: dict[str, str | int] = {
        "processor": processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "wmplan": wmplan.__version__,
    }
    if torch.device(device).type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found
