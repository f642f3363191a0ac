"""Linear maps whose weights are packed once for the matrix product, where the machine gains from it.

A matrix product first reorders its weights into the blocks that its kernel reads. Planning multiplies by the same
weights hundreds of times a second, with few rows each time, so that reordering is a good part of the work. oneDNN,
which torch brings on processors, keeps them reordered. On other devices, in other types, and wherever a gradient is
asked for, these are torch's own maps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _multiply(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    """(..., inputs) times a packed weight, plus the bias."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return out


_multiply_compiled = torch.library.custom_op("wmplan::packed_linear", _multiply, mutates_args=())
"""The same as one operation that torch.compile leaves alone: its own rule for packed weights wants constants."""


@_multiply_compiled.register_fake
def _shaped(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], packed.shape[0])


if ONEDNN:

    @register_flop_formula(torch.ops.mkldnn._linear_pointwise)
    def _operations(x: Sequence[int], weight: Sequence[int], *rest: Any, **options: Any) -> int:
        """Operations of a packed product, for torch's counter, which knows only its own products."""
        return 2 * math.prod(x) * weight[0]


def packs(weight: Tensor) -> bool:
    """Whether this weight gains from being packed: float32 on the processor; bfloat16 goes through oneDNN anyway."""
    return ONEDNN and weight.device.type == "cpu" and weight.dtype == torch.float32


def gelu(x: Tensor) -> Tensor:
    """The exact GELU, in place where no gradient is asked for: fresh memory costs more than the function."""
    return F.gelu(x) if torch.is_grad_enabled() else torch.ops.aten.gelu_(x)


class PackedWeight:
    """A weight (outputs, inputs) with its bias, for inference; neither may change afterwards."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight, self.bias = weight, bias
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous()) if packs(weight) else None

    def __call__(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        if self._packed is None or x.dtype != torch.float32 or x.shape[-1] != self.weight.shape[1]:
            return F.linear(x, self.weight, self.bias)  # which also says what does not fit
        multiply = _multiply_compiled if torch.compiler.is_compiling() else _multiply
        out: Tensor = multiply(x, self._packed, self.bias)
        return out


def has_bfloat16(device: torch.device | None = None) -> bool:
    """Whether the device multiplies bfloat16 in hardware (AVX512-BF16, AMX); on others it would cost time.

    Args:
        device: the processor where left out.
    """
    if device is not None and device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return ONEDNN and torch.cpu._is_avx512_bf16_supported()


class Linear(nn.Linear):
    """nn.Linear that keeps its weight packed while no gradient is asked for, and packs it anew when it has changed.

    What comes in bfloat16 is then multiplied in bfloat16, by a weight that is rounded once.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        self._kept: dict[tuple[int | None, int | None, bool], tuple[tuple[object, ...], PackedWeight]] = {}

    def forward(self, x: Tensor, rows: slice = slice(None)) -> Tensor:
        """(..., in_features) to (..., out_features), or to the outputs that some rows of the weight give."""
        weight, bias = self.weight, self.bias
        if torch.is_grad_enabled() or weight.is_inference() or not packs(weight):
            return F.linear(x, weight[rows], None if bias is None else bias[rows])
        state = (weight.data_ptr(), weight._version, None if bias is None else (bias.data_ptr(), bias._version))
        rounded = x.dtype == torch.bfloat16
        kept = self._kept.get((rows.start, rows.stop, rounded))
        if kept is None or kept[0] != state:
            with torch.inference_mode(False), torch.no_grad():
                parts = [None if part is None else part.detach()[rows] for part in (weight, bias)]
                if rounded:
                    parts = [None if part is None else part.bfloat16() for part in parts]
                packed = PackedWeight(*parts)
            kept = self._kept[rows.start, rows.stop, rounded] = state, packed
        return kept[1](x)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}  # packed weights can be neither copied nor saved
