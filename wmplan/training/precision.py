"""bfloat16 in training: convolutions and products where the machine has them in hardware, the rest in float32."""

from __future__ import annotations

import torch

CPU = torch.device("cpu")


def bfloat16_products(enabled: bool, device: torch.device = CPU) -> torch.autocast:
    """A context in which convolutions and linear layers multiply in bfloat16; weights and gradients stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
