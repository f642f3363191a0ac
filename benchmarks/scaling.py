"""How the time of a plan grows with samples, horizon, iterations and environments, and success with the first two.

    python benchmarks/scaling.py [--out benchmarks/results] [--devices cpu cuda] [--episodes 40] [--processes 1 2]

One setting is varied at a time around a base. A plan's time is that of one thread by the processor's own clock (CPU
seconds), which other programs on the machine disturb little, the median of several plans; beside it stands the time on
the wall. The exponent says how time grows: 1 is in proportion. GPUs are timed by the wall.

--episodes plays so many held-out instances of Push-T with the shipped model for each pair of samples and horizon, all
else being the card's, on a seed for development. --processes times the evaluation of as many instances by so many
workers. Both keep their evaluations in OUT/scaling_runs, and go on there when they are stopped; what was measured
before and is not asked for again stays in scaling.json.

Writes scaling.json, scaling.md and scaling.png; --draw makes the picture from an earlier scaling.json.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Sequence
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
from wmplan.evaluation import evaluate
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
SEED = 2000
PUSHT = "wmplan.envs:wmplan/PushT-v0"
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


def success(out: Path, episodes: int, samples: Sequence[int], horizons: Sequence[int]) -> list[Json]:
    """Rows of Push-T's success by samples (of which a fifteenth are elites) and horizon."""
    rows = []
    for horizon in horizons:
        for count in samples:
            planner = {"num_samples": count, "num_elites": max(2, count // 15), "horizon": horizon}
            planner["cold_start_samples"] = 8 * count  # as in the card
            folder = out / f"samples_{count}_horizon_{horizon}"
            told = evaluate(
                "pusht", PUSHT, folder, planner=planner, episodes=episodes, seed=SEED, rows="planner", workers=1
            )
            row = told["rows"]["planner"]
            found = {name: row[name] for name in ("success", "success_ci95", "success_at_end")}
            rows.append({"samples": count, "horizon": horizon, "episodes": episodes, **found})
            print(f"samples={count} horizon={horizon}: {100 * row['success']:.0f} %", flush=True)
    return rows


def processes(out: Path, episodes: int, workers: Sequence[int]) -> list[Json]:
    """Rows of the seconds that an evaluation of some instances takes by numbers of workers, with their start."""
    rows = []
    for count in workers:
        folder = out / f"processes_{count}"
        if (folder / "per_episode.jsonl").exists():
            raise SystemExit(f"{folder} is there: a time is of a whole evaluation, delete it first")
        begun = time.perf_counter()
        evaluate(
            "pusht", PUSHT, folder, planner="realtime", episodes=episodes, seed=SEED, rows="planner", workers=count
        )
        rows.append({"processes": count, "episodes": episodes, "seconds": time.perf_counter() - begun})
        print(f"processes={count}: {rows[-1]['seconds']:.1f} s", flush=True)
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
    for device, by_model in results.get("devices", {}).items():
        base = {name: next(row for row in rows if row["varied"] == "samples") for name, rows in by_model.items()}
        told = ", ".join(f"{name} {row['wall_ms']:.1f} at {row['samples']} samples" for name, row in base.items())
        lines += ["", f"On {device}, ms a plan on the wall: {told}."]
    if results.get("success"):
        lines += [
            "",
            "| samples | horizon | success [95 %] | at the end | episodes |",
            "|---|---|---|---|---|",
        ]
        for row in results["success"]:
            rate, (low, high) = 100 * row["success"], (100 * end for end in row["success_ci95"])
            lines.append(
                f"| {row['samples']} | {row['horizon']} | {rate:.0f} % [{low:.0f}, {high:.0f}] | "
                f"{100 * row['success_at_end']:.0f} % | {row['episodes']} |"
            )
    if results.get("processes"):
        lines += ["", "| processes | seconds | episodes | times as fast as the first |", "|---|---|---|---|"]
        first = results["processes"][0]["seconds"]
        lines += [
            f"| {row['processes']} | {row['seconds']:.0f} | {row['episodes']} | {first / row['seconds']:.2f} |"
            for row in results["processes"]
        ]
    return "\n".join(lines) + "\n"


def draw(results: Json, path: Path) -> None:
    """Time over each setting, a panel for each."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    clock, columns = results["clock"], list(VARIED)
    played, timed_by = results.get("success", []), results.get("processes", [])
    count = len(columns) + bool(played) + bool(timed_by)
    figure, axes = pyplot.subplots(1, count, figsize=(3.1 * count, 3.2), layout="constrained")
    for axis, setting in zip(axes, columns, strict=False):
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
    if played:
        draw_success(axes[len(columns)], played)
    if timed_by:
        draw_processes(axes[-1], timed_by)
    write_durably(path, lambda file: figure.savefig(file, format="png", dpi=110))
    pyplot.close(figure)


def draw_success(axis: Any, rows: list[Json]) -> None:
    """Success over samples, a line for each horizon."""
    axis.spines[["top", "right"]].set_visible(False)
    for place, horizon in enumerate(sorted({row["horizon"] for row in rows})):
        some = sorted((row for row in rows if row["horizon"] == horizon), key=lambda row: row["samples"])
        rates = [100 * row["success"] for row in some]
        ends = [
            [abs(100 * row["success_ci95"][end] - rate) for row, rate in zip(some, rates, strict=True)]
            for end in (0, 1)
        ]
        aside = [row["samples"] * 1.04**place for row in some]  # or one interval would hide another
        axis.errorbar(aside, rates, ends, marker="o", capsize=2, label=f"horizon {horizon}")
    axis.set_xscale("log", base=2)
    axis.set_ylim(0, 104)
    axis.set_title("Push-T, success in % over samples", fontsize=10)
    axis.set_xlabel("samples (95 % intervals)")
    axis.legend(fontsize=8)


def draw_processes(axis: Any, rows: list[Json]) -> None:
    """How many times as fast an evaluation is by numbers of processes."""
    axis.spines[["top", "right"]].set_visible(False)
    counts, first = [row["processes"] for row in rows], rows[0]["seconds"]
    axis.plot(counts, [first / row["seconds"] for row in rows], marker="o", color="#3b6ea5")
    axis.plot(counts, [count / counts[0] for count in counts], ":", color="#777777", linewidth=1)
    axis.set_xticks(counts)
    axis.set_title("evaluation, times as fast", fontsize=10)
    axis.set_xlabel("processes (dotted: in proportion)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--models", nargs="+", choices=list(BASES), default=list(BASES))
    parser.add_argument(
        "--devices", nargs="+", default=["cpu"], help="cpu, cuda, cuda:1, mps; the first sets the table"
    )
    parser.add_argument("--episodes", type=int, default=0, help="held-out instances a pair of samples and horizon")
    parser.add_argument("--samples", type=int, nargs="+", default=[32, 100, 300], help="with --episodes")
    parser.add_argument("--horizons", type=int, nargs="+", default=[3, 5], help="with --episodes, model steps")
    parser.add_argument("--processes", type=int, nargs="+", default=[], help="workers of an evaluation to be timed")
    parser.add_argument("--no-time", action="store_true", help="leave out the times of plans")
    parser.add_argument("--draw", action="store_true", help="only draw what was measured before")
    options = parser.parse_args()
    data, picture = options.out / "scaling.json", options.out / "scaling.png"
    results: Json = json.loads(data.read_text()) if data.exists() else {}
    if options.draw:
        draw(results, picture)
        return
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    runs = options.out / "scaling_runs"

    def keep(**measured: Any) -> None:
        results.update(measured)
        write_json(data, results, indent=1)

    if not options.no_time:
        times = {str(one): {name: sweep(name, find_device(one)) for name in options.models} for one in options.devices}
        first, *others = options.devices
        device = find_device(first)
        keep(
            schema=1,
            machine=machine(str(device)),
            clock="cpu_ms" if device.type == "cpu" else "wall_ms",
            time=times[first],
            devices={name: times[name] for name in others},
        )
    if options.episodes:
        keep(success=success(runs, options.episodes, options.samples, options.horizons))
    if options.processes:
        keep(processes=processes(runs, options.episodes or 8, options.processes))
    page = text(results)
    write_durably(options.out / "scaling.md", lambda file: file.write(page.encode()))
    draw(results, picture)
    print(page)


if __name__ == "__main__":
    main()
