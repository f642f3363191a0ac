"""How the time of a plan grows with samples, horizon, iterations and environments.

    python benchmarks/scaling.py [--out benchmarks/results]

One setting is varied at a time around a base. A plan's time is that of one thread by the processor's own clock (CPU
seconds), which other programs on the machine disturb little, the median of several plans; beside it stands the time on
the wall. The exponent says how time grows: 1 is in proportion. --device
times on a GPU, by the wall.

Writes scaling.json, scaling.md and scaling.png; --draw makes the picture from an earlier scaling.json.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from wmplan.atomic_io import write_durably, write_json
from wmplan.bench.config import Case
from wmplan.bench.machine import machine
from wmplan.bench.measure import count_flops
from wmplan.bench.models import make_model
from wmplan.bench.problem import make_problem
from wmplan.bench.run import make_case_planner
from wmplan.device import find_device, synchronise
from wmplan.models.base import WorldModel

Json = dict[str, Any]
BASES = {
    "keypoint": Case("keypoint", "icem", 1, 128, 5, 4),
    "lewm": Case("lewm", "icem", 1, 32, 5, 2),
}
VARIED: dict[str, tuple[int, ...]] = {
    "samples": (32, 64, 128, 256, 512),
    "horizon": (1, 2, 5, 10),
    "iterations": (1, 2, 4, 8),
    "batch": (1, 2, 4, 8, 16),
}
SMALLER: dict[str, tuple[int, ...]] = {"samples": (16, 32, 64, 128), "horizon": (1, 2, 5, 10), "batch": (1, 2, 4)}


def timed(case: Case, model: WorldModel, least: int = 3, seconds: float = 0.5) -> Json:
    """A row: CPU and wall milliseconds of a plan, and its operations."""
    problem = make_problem(model, case.batch)
    planner, cost = make_case_planner(case, model), problem.cost()
    planner.reset(range(case.batch))
    first, more = count_flops(cost.predict, problem, case.horizon)
    planner.plan(cost)  # warms up
    spent: list[tuple[float, float]] = []
    until = time.perf_counter() + seconds
    while len(spent) < least or time.perf_counter() < until:
        begun, clock = time.process_time(), time.perf_counter()
        planner.plan(cost)
        synchronise(model.device)
        spent.append((time.process_time() - begun, time.perf_counter() - clock))
    processor, wall = (1e3 * statistics.median(column) for column in zip(*spent, strict=True))
    return {**asdict(case), "cpu_ms": processor, "wall_ms": wall, "plans": len(spent), "mflop_candidate": more / 1e6}


def sweep(name: str, device: torch.device) -> list[Json]:
    """Rows of one model, a setting varied at a time."""
    model = make_model(name).to(device)
    rows = []
    for setting, values in (VARIED if name == "keypoint" else SMALLER).items():
        for value in values:
            row = {"varied": setting, **timed(replace(BASES[name], **{setting: value}), model)}
            rows.append(row)
            print(f"{name} {setting}={value}: {row['cpu_ms']:.1f} ms CPU, {row['wall_ms']:.1f} ms wall", flush=True)
    return rows


def exponent(rows: list[Json], setting: str, clock: str) -> float:
    """Least-squares slope of log time over log setting, over the upper half, where fixed costs are left behind."""
    points = [(math.log(row[setting]), math.log(row[clock])) for row in rows][-(len(rows) // 2 + 1) :]
    middle = [statistics.mean(column) for column in zip(*points, strict=True)]
    above = sum((x - middle[0]) * (y - middle[1]) for x, y in points)
    return above / sum((x - middle[0]) ** 2 for x, _ in points)


def text(results: Json) -> str:
    """The results as a page of Markdown."""
    where, clock = results["machine"], results["clock"]
    what = "CPU time of one thread" if clock == "cpu_ms" else "time on the wall"
    lines = [
        "# Scaling",
        "",
        f"{where.get('gpu', where['processor'])}, torch {where['torch']}; {what}, median. "
        "The exponent is over the upper half of the values.",
        "",
        "| model, around | varied | values | ms a plan | exponent |",
        "|---|---|---|---|---|",
    ]
    for name, rows in results["time"].items():
        base = BASES[name]
        around = f"{name}, {base.planner} {base.batch} x {base.samples} x {base.horizon} x {base.iterations}"
        for setting in dict.fromkeys(row["varied"] for row in rows):
            some = [row for row in rows if row["varied"] == setting]
            values, times = (" / ".join(f"{row[key]:.3g}" for row in some) for key in (setting, clock))
            lines.append(f"| {around} | {setting} | {values} | {times} | {exponent(some, setting, clock):.2f} |")
    return "\n".join(lines) + "\n"


def draw(results: Json, path: Path) -> None:
    """Time over each setting, a panel for each."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    clock, columns = results["clock"], list(VARIED)
    figure, axes = pyplot.subplots(1, len(columns), figsize=(3.1 * len(columns), 3.2), layout="constrained")
    for axis, setting in zip(axes, columns, strict=True):
        axis.spines[["top", "right"]].set_visible(False)
        for name, colour in zip(results["time"], ("#3b6ea5", "#c06030"), strict=False):
            rows = [row for row in results["time"][name] if row["varied"] == setting]
            if rows:
                values, times = [row[setting] for row in rows], [row[clock] for row in rows]
                axis.loglog(values, times, marker="o", base=2, label=name, color=colour)
                axis.plot(values, [times[-1] * value / values[-1] for value in values], ":", color=colour, linewidth=1)
        title = {"batch": "environments"}.get(setting, setting)
        axis.set_title(f"ms a plan over {title}", fontsize=10)
        axis.set_xlabel(f"{title} (dotted: in proportion)")
        axis.legend(fontsize=8)
    write_durably(path, lambda file: figure.savefig(file, format="png", dpi=110))
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--models", nargs="+", choices=list(BASES), default=list(BASES))
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps or auto")
    parser.add_argument("--draw", action="store_true", help="only draw what was measured before")
    options = parser.parse_args()
    data, picture = options.out / "scaling.json", options.out / "scaling.png"
    if options.draw:
        draw(json.loads(data.read_text()), picture)
        return
    torch.set_num_threads(1)
    device = find_device(options.device)
    results = {
        "schema": 1,
        "machine": machine(str(device)),
        "clock": "cpu_ms" if device.type == "cpu" else "wall_ms",
        "time": {name: sweep(name, device) for name in options.models},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(data, results, indent=1)
    page = text(results)
    write_durably(options.out / "scaling.md", lambda file: file.write(page.encode()))
    draw(results, picture)
    print(page)


if __name__ == "__main__":
    main()
