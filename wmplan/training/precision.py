"""bfloat16 in training: convolutions and products where the machine has them in hardware, the rest in float32."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import torch

from wmplan.models.linear import has_bfloat16

CPU = torch.device("cpu")
Precision = Literal["auto", 32, "bf16"]


def bfloat16_products(enabled: bool, device: torch.device = CPU) -> torch.autocast:
    """A context in which convolutions and linear layers multiply in bfloat16; weights and gradients stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def multiplies_bfloat16(precision: Precision, device: torch.device) -> bool:
    """Whether a run of that precision multiplies in bfloat16 on a device."""
    return has_bfloat16(device) if precision == "auto" else precision == "bf16"


def from_old_setting(bfloat16: bool | None, precision: Any) -> Any:
    """The precision of settings that may have the old name, `bfloat16`."""
    if bfloat16 is None:
        return precision
    new = "bf16" if bfloat16 else 32
    warnings.warn(
        f"bfloat16={str(bfloat16).lower()} is now precision={new}; the old name goes with the next version",
        DeprecationWarning,
        stacklevel=4,
    )
    return new
