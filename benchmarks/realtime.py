"""Success in real time against the synchronous evaluation, and what a late camera costs with and without compensation.

    python benchmarks/realtime.py --out DIR [--model pusht] [--episodes 100] [--seed 0]

A server in a process of its own (`wmplan serve`), the robot in this one, over loopback and in wall-clock time: at
10 Hz with the model's preset, at 20 Hz with the real-time preset, on the instances of `wmplan eval` with the same
planner. Nothing else should run on the machine then: the robot does not wait. After that, at 10 Hz, the camera 0, 100
and 200 ms late, by the same decisions in simulated time, a plan of the real-time preset taking 50 ms: no load changes
that table, and it comes out the same anywhere. What is finished is kept in out: the same command goes on.

Required: real-time success within the 95 % interval of the synchronous one, missed deadlines below 1 %, and the
success lost to latency with compensation less than half of what is lost without.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from wmplan.control.realtime.config import RealtimeConfig
from wmplan.evaluation.evaluate import evaluate
from wmplan.robot_sim.camera import CameraConfig
from wmplan.robot_sim.config import RobotConfig
from wmplan.robot_sim.run import run_robot, settings_of
from wmplan.settings.compose import compose
from wmplan.text_table import table

MISSED = 0.01  # of the deadlines, at most
LATENCIES = (0, 100, 200)  # ms


@contextlib.contextmanager
def serving(model: str, planner: str) -> Iterator[str]:
    """The url of a server for as long as the block lasts."""
    command = [sys.executable, "-m", "wmplan.cli", "serve", "port=0", f"model={model}", f"planner={planner}"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        banner = server.stdout.readline()
        if not banner:
            raise SystemExit("the server did not start")
        yield next(word for word in banner.split() if word.startswith("ws://"))
    finally:
        server.terminate()
        server.wait()


def finished(config: RobotConfig) -> dict[str, Any] | None:
    """The result that is there of the same settings."""
    file = Path(config.out) / "results.json"
    if not file.exists():
        return None
    before = json.loads(file.read_text(encoding="utf-8"))
    wanted = json.loads(json.dumps(settings_of(config)))
    return before if all(before["settings"][key] == value for key, value in wanted.items() if key != "url") else None


def served(config: RobotConfig, planner: str) -> dict[str, Any]:
    """The result of a run with a served planner."""
    before = finished(config)
    if before is not None:
        return before
    with serving(config.model, planner) as url:
        return run_robot(replace(config, url=url))


def simulated(config: RobotConfig) -> dict[str, Any]:
    """The result of a run in simulated time."""
    return finished(config) or run_robot(config)


def line(name: str, result: dict[str, Any]) -> list[str]:
    """A row of the table of rates."""
    low, high = result["success_ci95"]
    cells = [name, f"{100 * result['success']:.0f} [{100 * low:.0f}, {100 * high:.0f}]"]
    if "loop" not in result:
        return [*cells, "-", "-", "-"]
    numbers = result["statistics"]
    p50, p99 = (numbers["plan_seconds"][f"p{q}"] for q in (50, 99))
    plan = "-" if p50 is None else f"{1000 * p50:.0f} / {1000 * p99:.0f}"
    return [*cells, f"{result['loop']['control_rate']:.2f}", plan, f"{100 * numbers['missed_deadlines']:.2f}"]


def compare_rates(base: RobotConfig, planners: dict[int, str]) -> bool:
    """Real time at each rate against the synchronous evaluation with the same planner."""
    rows, holds = [], True
    for rate, planner in planners.items():
        settings = compose("eval", [f"planner={planner}"])["planner"]
        folder = base.out.parent / f"synchronous_{planner}"
        run = evaluate(
            base.model, base.task, folder, planner=settings, episodes=base.episodes, seed=base.seed, rows=["planner"]
        )
        synchronous = run["rows"]["planner"]
        result = served(replace(base, rate=float(rate), out=base.out.parent / f"rate_{rate}"), planner)
        rows += [line(f"synchronous, {planner}", synchronous), line(f"{rate} Hz, {planner}", result)]
        low, high = synchronous["success_ci95"]
        holds &= low <= result["success"] <= high and result["statistics"]["missed_deadlines"] < MISSED
    print(table(["", "success % [95 %]", "rate Hz", "plan ms p50 / p99", "missed deadlines %"], rows))
    return holds


def compare_latencies(base: RobotConfig, planner: str) -> bool:
    """The late camera with compensation and without."""
    settings = compose("eval", [f"planner={planner}"])["planner"]
    cases = [(latency, compensation) for latency in LATENCIES for compensation in (True, False)]
    configs = [
        replace(
            base,
            out=base.out.parent / f"latency_{latency}_{'on' if compensation else 'off'}",
            url=None,
            clock="simulated",
            planner=settings,
            camera=CameraConfig(latency_ms=float(latency)),
            realtime=replace(base.realtime, compensation=compensation),
        )
        for latency, compensation in cases
    ]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        success = {case: run["success"] for case, run in zip(cases, pool.map(simulated, configs), strict=True)}
    cells = [[f"{100 * success[latency, on]:.0f}" for latency in LATENCIES] for on in (True, False)]
    head = ["success % with the camera late by", *(f"{latency} ms" for latency in LATENCIES)]
    print(table(head, [["compensation on", *cells[0]], ["compensation off", *cells[1]]]))
    lost = [[success[LATENCIES[0], on] - success[latency, on] for latency in LATENCIES[1:]] for on in (True, False)]
    return all(on < off / 2 or on <= 0 for on, off in zip(*lost, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="pusht")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replan-every", type=int, default=5, help="robot steps; a model step, as wmplan eval plans")
    parser.add_argument("--quantile", type=float, default=RealtimeConfig.quantile, help="of planning times")
    parser.add_argument("--preset", default="preset", help="the planner at 10 Hz, a file of configs/planner")
    parser.add_argument("--fast", default="realtime", help="the planner at 20 Hz, and of the late camera")
    options = parser.parse_args()
    base = RobotConfig(
        task=compose("robot")["task"]["id"],
        out=options.out / "base",
        model=options.model,
        episodes=options.episodes,
        seed=options.seed,
        films=1,
        realtime=RealtimeConfig(
            wait_first=True, log_seconds=None, replan_every=options.replan_every, quantile=options.quantile
        ),
    )
    holds = compare_rates(base, {10: options.preset, 20: options.fast})
    print()
    holds &= compare_latencies(base, options.fast)
    print(f"\nwhat is required {'holds' if holds else 'does not hold'}")
    return int(not holds)


if __name__ == "__main__":
    sys.exit(main())
