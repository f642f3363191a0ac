"""The MLPs around a LeWM's predictor, and what is folded in them for inference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from wmplan.models.errors import CheckpointError
from wmplan.models.linear import Linear, PackedWeight, gelu
from wmplan.models.released.architecture import read_field, read_size

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
    "none": lambda width: nn.Identity(),
}


def read_projector(architecture: Mapping[str, Any], name: str) -> tuple[int, str] | None:
    """Hidden width and norm of a projector; None where its `dims` are empty."""
    dims, norm = read_field(architecture, f"{name}.dims"), read_field(architecture, f"{name}.norm", "batch")
    if isinstance(dims, list | tuple) and not dims:
        return None
    if not isinstance(dims, list | tuple) or len(dims) != 3 or not isinstance(norm, str) or norm not in NORMS:
        raise CheckpointError(
            f"the architecture's field {name!r} has to have three dims and a norm of {', '.join(NORMS)}"
        )
    return read_size({"dims": dims[1]}, "dims"), norm


def make_projector(inputs: int, sizes: tuple[int, str] | None, outputs: int) -> nn.Module:
    """A Projector, or nothing where there is none."""
    return nn.Identity() if sizes is None else Projector(inputs, sizes[0], outputs, sizes[1])


def make_map(inputs: int, outputs: int) -> nn.Module:
    """A linear map, or nothing where the widths are equal."""
    return nn.Identity() if inputs == outputs else Linear(inputs, outputs)


class Projector(nn.Module):
    """Linear, norm, exact GELU, linear; batch norm by running statistics in all releases."""

    def __init__(self, inputs: int, hidden: int, outputs: int, norm: str = "batch") -> None:
        super().__init__()
        middle = NORMS[norm](hidden)
        self.net = nn.Sequential(Linear(inputs, hidden), middle, nn.GELU(), Linear(hidden, outputs))

    def forward(self, vectors: Tensor) -> Tensor:
        """Vectors (n, inputs) to (n, outputs)."""
        up, norm, _, down = self.net
        out: Tensor = down(gelu(norm(up(vectors))))
        return out

    def folded(self) -> Callable[[Tensor], Tensor]:
        """The same map for inference, the batch norm by running statistics put into the weight as it is now."""
        first, norm, _, last = self.net
        if not isinstance(norm, nn.BatchNorm1d) or norm.running_mean is None or norm.running_var is None:
            return self
        first, last = cast(nn.Linear, first), cast(nn.Linear, last)
        kept, wide = first.weight.dtype, torch.promote_types(first.weight.dtype, torch.float32)
        gain = norm.weight.to(wide) * (norm.running_var.to(wide) + norm.eps).rsqrt()
        bias = (first.bias.to(wide) - norm.running_mean.to(wide)) * gain + norm.bias.to(wide)
        up = PackedWeight((first.weight.to(wide) * gain[:, None]).to(kept), bias.to(kept))
        down = PackedWeight(last.weight, last.bias)
        return lambda vectors: down(gelu(up(vectors)))
