"""Times planners on models, case by case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from wmplan.bench.config import BenchConfig, Case, cases
from wmplan.bench.machine import machine
from wmplan.bench.measure import Peak, choose_dtype, count_flops, faster, fastest_product, percentiles, repeat
from wmplan.bench.memory import TensorPeak
from wmplan.bench.models import make_model
from wmplan.bench.plain import plain_cem
from wmplan.bench.problem import make_problem
from wmplan.device import find_device
from wmplan.models.base import WorldModel
from wmplan.models.released.lewm import LeWM
from wmplan.planning.registry import make_planner
from wmplan.settings.dtypes import dtype_name

Json = dict[str, Any]
SCHEMA = 1
OVERHEAD_SAMPLES, OVERHEAD_ITERATIONS = 300, 30


def run_bench(config: BenchConfig) -> Json:
    """Measure everything the configuration asks for; gives what bench.json holds.

    Shows a progress bar on a terminal. torch's number of threads is put back afterwards.
    """
    threads = torch.get_num_threads()
    config = replace(config, device=str(find_device(config.device)))
    torch.set_num_threads(config.threads or threads)
    try:
        peaks = measure_peaks(config.device)
        dtype = choose_dtype(config.dtype, peaks)
        name = dtype_name(dtype)
        rows: list[Json] = []
        models: dict[str, WorldModel] = {}
        plain: set[str] = set()  # models whose plain loop was timed: once, at its first case
        for case in tqdm(list(cases(config.models, config.full)), desc="bench", disable=None, leave=False):
            if case.model not in models:
                models = {case.model: prepare(make_model(case.model, config.seed), config, dtype)}
            loop = case.model not in plain
            rows.append(run_case(case, models[case.model], config, loop))
            plain.add(case.model)
        # Once more: other programs, or a clock that falls with heat, may have slowed the first ones.
        peaks = {
            one: faster(peak, again)
            for (one, peak), again in zip(peaks.items(), measure_peaks(config.device).values(), strict=True)
        }
        for row in rows:
            row["peak_share"] = peaks[name].share(row["gflops"])
        return {
            "schema": SCHEMA,
            "settings": {
                "full": config.full,
                "dtype": name,
                "compile": config.compile,
                "device": config.device,
                "seconds": config.seconds,
                "seed": config.seed,
            },
            "machine": machine(config.device),
            "peak_gflops": {one: peak.gflops for one, peak in peaks.items()},
            "peak_product": {one: peak.product for one, peak in peaks.items()},
            "overhead": [planner_overhead(one, config.seconds) for one in ("cem", "icem", "mppi")],
            "rows": rows,
        }
    finally:
        torch.set_num_threads(threads)


def prepare(model: WorldModel, config: BenchConfig, dtype: torch.dtype) -> WorldModel:
    """The model where and in what it is to compute."""
    model = model.to(config.device)
    if config.compile and isinstance(model, LeWM):
        model.compiled = True
    model.compute_in(dtype)
    return model


def measure_peaks(device: str) -> dict[str, Peak]:
    """The fastest product of each type."""
    return {name: fastest_product(getattr(torch, name), device) for name in ("float32", "bfloat16")}


def run_case(case: Case, model: WorldModel, config: BenchConfig, plain: bool) -> Json:
    """One row: speed and memory; with `plain`, also how long the plain loop takes."""
    problem = make_problem(model, case.batch, seed=config.seed)
    planner = make_case_planner(case, model)
    planner.reset(range(config.seed, config.seed + case.batch))
    cost = problem.cost()
    first, more = count_flops(cost.predict, problem, case.horizon)
    with TensorPeak() as memory:
        planner.plan(cost)
    if config.compile and not isinstance(model, LeWM):
        cost.predict = torch.compile(cost.predict, dynamic=False)  # type: ignore[method-assign]
    spent: list[float] = []  # outside of the cost function, an iteration
    candidates: list[int] = []

    def plan() -> None:
        found = planner.plan(cost).diagnostics
        spent.append((found["plan_ms"] - found["cost_ms"]) / found["iterations"])

    counted = _counting(cost, candidates)
    planner.plan(counted)  # warms up, too: torch.compile's work and first uses of memory stay out of the times
    times = repeat(plan, config.seconds)
    by_percentile = percentiles(times)
    seconds = by_percentile["p50"] / 1e3
    rollouts, passes = sum(candidates) * case.batch, len(candidates)
    total = first * passes + more * (sum(candidates) - passes)
    row: Json = {
        "model": case.model,
        "planner": case.planner,
        "batch": case.batch,
        "samples": case.samples,
        "horizon": case.horizon,
        "iterations": case.iterations,
        "context": problem.context.shape[1],
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "threads": torch.get_num_threads(),
        "plans": len(times),
        "plan_ms": by_percentile,
        "plans_per_s": case.batch / seconds,
        "rollouts_per_s": rollouts / seconds,
        "model_steps_per_s": rollouts * case.horizon / seconds,
        "gflop": total / 1e9,
        "gflops": total / 1e9 / seconds,
        "memory_mb": memory.peak / 2**20,
        "overhead_ms": percentiles(spent)["p50"],
        "plain_ms": None,
    }
    if plain:
        with torch.inference_mode():
            elites = max(1, case.samples // 10)
            loop = repeat(
                lambda: plain_cem(problem, case.samples, case.horizon, case.iterations, elites), 0.0, 1, warm_up=0
            )
        row["plain_ms"] = percentiles(loop)["p50"]
    return row


def make_case_planner(case: Case, model: WorldModel) -> Any:
    """The case's planner in the model's bounds, a tenth of its samples being elites."""
    low, high = model.spec.block_bounds()
    settings: Json = {"num_samples": case.samples, "num_iterations": case.iterations, "horizon": case.horizon}
    settings["num_elites"] = max(1, case.samples // 10)
    return make_planner(case.planner, low, high, action_block=model.spec.action_block, device=model.device, **settings)


def _counting(cost: Callable[[Tensor], Tensor], candidates: list[int]) -> Callable[[Tensor], Tensor]:
    """The cost, which writes down how many candidates of each environment it was asked for."""

    def counted(actions: Tensor) -> Tensor:
        candidates.append(actions.shape[1])
        return cost(actions)

    return counted


def planner_overhead(name: str, seconds: float) -> Json:
    """What a planner itself takes, with a cost that takes nothing: milliseconds an iteration."""
    low, high = -torch.ones(10), torch.ones(10)
    settings: Json = {
        "num_samples": OVERHEAD_SAMPLES,
        "num_iterations": OVERHEAD_ITERATIONS,
        "horizon": 5,
        "num_elites": 30,
    }
    if name == "icem":
        settings["decay"] = 1.0  # as many samples in each iteration as the others
    planner = make_planner(name, low, high, action_block=5, **settings)
    planner.reset([0])
    spent: list[float] = []

    def plan() -> None:
        found = planner.plan(lambda actions: actions[:, :, 0, 0]).diagnostics
        spent.append((found["plan_ms"] - found["cost_ms"]) / found["iterations"])

    plan()
    spent.clear()
    repeat(plan, min(seconds, 1.0), warm_up=0)
    return {
        "planner": name,
        "samples": OVERHEAD_SAMPLES,
        "iterations": OVERHEAD_ITERATIONS,
        "horizon": 5,
        "ms": percentiles(spent),
    }
