"""Linear maps whose weights are packed once for the matrix product, where the machine gains from it.

A matrix product first reorders its weights into the blocks that its kernel reads. Planning multiplies by the same
weights hundreds of times a second, with few rows each time, so that reordering is a good part of the work. oneDNN,
which torch brings on processors, keeps them reordered, in float32 and in bfloat16. A processor without bfloat16 in
hardware multiplies rounded weights in float32, whose sums are as exact as those of the hardware: tens of times as fast
as torch's own product there. On other devices, in other types, and wherever a gradient is asked for, these are torch's
own maps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

SMALL, NARROW = 2**17, ("DEFAULT", "AVX2")
"""Weights of so many numbers are multiplied faster by torch's own product where the processor has no AVX-512: a call of
oneDNN takes 25 microseconds by itself."""
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


def packable(weight: Tensor) -> bool:
    """Whether this weight can be packed: float32 or bfloat16 on the processor."""
    return ONEDNN and weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.bfloat16)


def packs(weight: Tensor) -> bool:
    """Whether this weight gains from being packed: it can be, and is not too small for it."""
    large = weight.numel() > SMALL or torch.backends.cpu.get_cpu_capability() not in NARROW
    return large and packable(weight)


def gelu(x: Tensor) -> Tensor:
    """The exact GELU, in place where no gradient is asked for: fresh memory costs more than the function."""
    return F.gelu(x) if torch.is_grad_enabled() else torch.ops.aten.gelu_(x)


class PackedWeight:
    """A weight (outputs, inputs) with its bias, for inference; neither may change afterwards.

    Args:
        any_size: pack it also where torch's own product is faster, to measure which is.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, any_size: bool = False) -> None:
        self.weight, self.bias = weight, bias
        emulated = weight.dtype == torch.bfloat16 and weight.device.type == "cpu" and not has_bfloat16()
        self._type = torch.float32 if emulated else weight.dtype  # of the product
        self._wide, self._bias = weight.to(self._type), None if bias is None else bias.to(self._type)
        self._packed: Tensor | None = None
        if packable(weight) if any_size else packs(weight):
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self._wide.contiguous())

    def __call__(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        if x.dtype != self.weight.dtype or x.shape[-1] != self.weight.shape[1]:
            return F.linear(x, self.weight, self.bias)  # which says what does not fit
        if self._packed is None:
            return F.linear(x.to(self._type), self._wide, self._bias).to(x.dtype)
        multiply = _multiply_compiled if torch.compiler.is_compiling() else _multiply
        out: Tensor = multiply(x.to(self._type), self._packed, self._bias)
        return out.to(x.dtype)


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

    Attributes:
        rounds: whether what comes in float32 is so multiplied, too; what is given is float32 all the same.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        self.rounds = False
        self._kept: dict[tuple[int | None, int | None, bool], tuple[tuple[object, ...], PackedWeight]] = {}

    def forward(self, x: Tensor, rows: slice = slice(None)) -> Tensor:
        """(..., in_features) to (..., out_features), or to the outputs that some rows of the weight give."""
        weight, bias = self.weight, self.bias
        if torch.compiler.is_compiling():  # which packs by rules of its own, and asks no weight where it lies
            return self._plain(x, rows)
        narrow = self.rounds and x.dtype == weight.dtype == torch.float32
        rounded = narrow or (x.dtype == torch.bfloat16 and weight.dtype == torch.float32)
        if torch.is_grad_enabled() or weight.is_inference() or not (rounded or packs(weight)):
            return F.linear(x, weight[rows], None if bias is None else bias[rows])
        state = (weight.data_ptr(), weight._version, None if bias is None else (bias.data_ptr(), bias._version))
        kept = self._kept.get((rows.start, rows.stop, rounded))
        if kept is None or kept[0] != state:
            with torch.inference_mode(False), torch.no_grad():
                parts = [None if part is None else part.detach()[rows] for part in (weight, bias)]
                if rounded:
                    parts = [None if part is None else part.bfloat16() for part in parts]
                packed = PackedWeight(*parts)
            kept = self._kept[rows.start, rows.stop, rounded] = state, packed
        return kept[1](x.bfloat16()).float() if narrow else kept[1](x)

    def _plain(self, x: Tensor, rows: slice) -> Tensor:
        """The same by torch's own map."""
        weight, bias = self.weight[rows], None if self.bias is None else self.bias[rows]
        narrow = self.rounds and x.dtype == weight.dtype == torch.float32 and not torch.is_grad_enabled()
        given = x.bfloat16() if narrow else x
        if given.dtype == torch.bfloat16 and weight.dtype == torch.float32:
            weight, bias = weight.bfloat16(), None if bias is None else bias.bfloat16()
        out = F.linear(given, weight, bias)
        return out.float() if narrow else out

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}  # packed weights can be neither copied nor saved
