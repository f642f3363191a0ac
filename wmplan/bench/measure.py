"""Times, percentiles, floating-point operations, and what the machine's matrix products reach."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from wmplan.bench.problem import Problem
from wmplan.models.linear import PackedWeight, packable

GAIN = 1.1
"""How much faster the matrix products of a type have to be before it is chosen."""


def repeat(function: Callable[[], object], seconds: float, least: int = 3, warm_up: int = 1) -> list[float]:
    """Milliseconds of each call, called for `seconds` and `least` times; calls to warm up come first, unmeasured."""
    for _ in range(warm_up):
        function()
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < until:
        synchronise()
        begun = time.perf_counter()
        function()
        synchronise()
        times.append(1e3 * (time.perf_counter() - begun))
    return times


def synchronise() -> None:
    """Wait for what a GPU still does."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def percentiles(times: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99; with few times the last two are the slowest."""
    return {f"p{q}": float(np.percentile(times, q, method="higher" if q > 50 else "linear")) for q in (50, 95, 99)}


@dataclass(frozen=True)
class Peak:
    """The fastest matrix product that was seen.

    Attributes:
        gflops: its speed, in 1e9 floating-point operations a second.
        product: what it was.
    """

    gflops: float
    product: str

    def share(self, gflops: float) -> float:
        """Of the peak, from 0 to 1: what ran faster than every product that was measured is the peak itself."""
        return gflops / max(self.gflops, gflops)


def fastest_product(dtype: torch.dtype, device: str = "cpu", seconds: float = 0.3) -> Peak:
    """The fastest of torch's product and, on processors, oneDNN's with packed weights, at some sizes.

    Which of the two is faster depends on the processor: MKL's on AMD's is slower than oneDNN's at some sizes and
    faster at others. Sizes grow only while a product takes no longer than `seconds`: a type that the machine has no
    instructions for may be a hundred times slower.
    """
    best = Peak(0.0, "none")
    for size in (256, 512, 1024):
        left, right = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
        kinds: dict[str, Callable[[], object]] = {"torch.mm": partial(torch.mm, left, right)}
        if packable(right):
            kinds["oneDNN, packed"] = partial(PackedWeight(right, any_size=True), left)
        with torch.inference_mode():
            fastest = {name: min(repeat(multiply, seconds / 6, least=1)) for name, multiply in kinds.items()}
        for name, spent in fastest.items():
            gflops = 2e-6 * size**3 / spent
            if gflops > best.gflops:
                best = Peak(gflops, f"{name}, {size} x {size} x {size}")
        if 8 * max(fastest.values()) > 1e3 * seconds:
            break
    return best


def faster(*peaks: Peak) -> Peak:
    """The fastest of some."""
    return max(peaks, key=lambda peak: peak.gflops)


def choose_dtype(name: str, peaks: Mapping[str, Peak]) -> torch.dtype:
    """The type of that name; for "auto", bfloat16 if its matrix products were measured faster, otherwise float32."""
    if name == "auto":
        name = "bfloat16" if peaks["bfloat16"].gflops > GAIN * peaks["float32"].gflops else "float32"
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def count_flops(rollout: Callable[[Tensor], object], problem: Problem, horizon: int) -> tuple[float, float]:
    """Floating-point operations of the matrix products in a rollout: of one candidate, and of each one more.

    Candidates are (B, S, horizon, A), one or one more for each of the problem's B environments. They are counted as
    they happen, so what candidates share is in the first number alone; a multiplication and an addition are two.
    """
    counts = []
    for samples in (1, 1, 2):  # the first time a model may also prepare its weights
        actions = torch.zeros(len(problem.context), samples, horizon, problem.model.spec.block_dim)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            rollout(actions.to(problem.context.device))
        counts.append(float(counter.get_total_flops()))
    return counts[1], counts[2] - counts[1]
