"""How long the shipped Push-T's rollouts take with small layers packed for oneDNN, and by torch's own product.

    python benchmarks/small_products.py [--candidates 1 100 300] [--pairs 20] [--threads 1]

Both are timed in pairs in one process: packed, torch's, packed, torch's; the ratio is the median over the pairs.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

import wmplan
from wmplan.bench.problem import make_problem
from wmplan.machine import processor
from wmplan.models import linear

HORIZON = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, nargs="+", default=[1, 100, 300])
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    linear.NARROW = ("DEFAULT", "AVX2", torch.backends.cpu.get_cpu_capability())
    usual = linear.SMALL
    problem = make_problem(wmplan.load("pusht"), 1)
    print(f"{processor()}, {torch.backends.cpu.get_cpu_capability()}, {options.threads} thread(s)")
    for candidates in options.candidates:
        actions = torch.rand(1, candidates, HORIZON, problem.model.spec.block_dim)
        times: dict[int, list[float]] = {0: [], usual: []}
        with torch.inference_mode():
            for _ in range(options.pairs + 2):
                for size, spent in times.items():
                    linear.SMALL = size
                    begun = time.perf_counter()
                    problem.model.rollout_last(problem.context, actions, problem.past_actions)
                    spent.append(1e3 * (time.perf_counter() - begun))
        packed, own = (spent[2:] for spent in times.values())  # the first two warm up
        ratio = statistics.median(first / second for first, second in zip(packed, own, strict=True))
        print(
            f"{candidates} candidates: {min(packed):.2f} ms packed, {min(own):.2f} torch's own; "
            f"{ratio:.2f} times as fast"
        )


if __name__ == "__main__":
    main()
