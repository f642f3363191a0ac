"""How fast planning is: what `wmplan bench` and benchmarks/planner.py measure with."""

from __future__ import annotations

from wmplan.bench.config import BenchConfig
from wmplan.bench.run import run_bench

__all__ = ["BenchConfig", "run_bench"]
