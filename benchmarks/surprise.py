"""How often a model's surprise tells that something is wrong, and how often it says so when nothing is.

    python benchmarks/surprise.py --out FILE.json [--model pusht] [--episodes 100] [--seed 0] [--false-alarms 0.05]

The controller plays held-out instances of `wmplan eval`. On `episodes` undisturbed ones the threshold is set, so that
the given part of them has an alarm; on as many others false alarms are counted; on those, once for each disturbance,
true ones: within 10 robot steps (two model steps of the shipped models) after the block is knocked by hand, the camera
is bumped, the camera is covered, or an actuator fails. The threshold is what `RealtimeConfig.surprise_threshold` takes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import gymnasium
from tqdm import tqdm

from wmplan.atomic_io import write_json
from wmplan.control.make import make_controller
from wmplan.evaluation.disturbances import DISTURBANCES, Disturbance
from wmplan.evaluation.instances import generate_instances
from wmplan.evaluation.protocol import Protocol
from wmplan.evaluation.surprise import Watched, false_alarms, threshold, true_alarms, watch
from wmplan.models.loading import load
from wmplan.text_table import table


def measure(model_name: str, episodes: int, seed: int, part: float) -> dict[str, Any]:
    """The table and the numbers behind it."""
    model, protocol = load(model_name), Protocol()
    env: Any = gymnasium.make(model.card["task"], image_size=model.spec.image_size).unwrapped
    controller = make_controller(model)
    instances = generate_instances(env, protocol, 2 * episodes, seed)

    def play(kind: type[Disturbance], which: slice) -> list[Watched]:
        bar = tqdm(instances[which], desc=kind.name, disable=None, leave=False)
        return [watch(env, controller, instance, kind, seed, protocol.steps) for instance in bar]

    limit = threshold([one.values for one in play(Disturbance, slice(0, episodes))], part)
    tested = slice(episodes, 2 * episodes)
    rows = {Disturbance.name: false_alarms(play(Disturbance, tested), limit)}
    rows |= {kind.name: true_alarms(play(kind, tested), limit) for kind in DISTURBANCES}
    env.close()
    return {
        "model": model_name,
        "episodes": episodes,
        "seed": seed,
        "false_alarms_wanted": part,
        "threshold": limit,
        "alarms": {name: alarms.as_dict() for name, alarms in rows.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="pusht")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--false-alarms", type=float, default=0.05)
    options = parser.parse_args()
    began = time.perf_counter()
    result = measure(options.model, options.episodes, options.seed, options.false_alarms)
    write_json(options.out, result)
    lines = [
        (
            name,
            f"{100 * one['rate']:.0f} %",
            f"{100 * one['ci95'][0]:.0f} to {100 * one['ci95'][1]:.0f} %",
            "-" if one["delay_steps"] is None else f"{one['delay_steps']:g}",
        )
        for name, one in result["alarms"].items()
    ]
    print(table(("what happens", "alarm in", "95 %", "after robot steps"), lines))
    print(f"threshold {result['threshold']:.3g}; {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
