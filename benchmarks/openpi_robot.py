"""openpi's own client, unmodified, drives the served Push-T robot: its success against the synchronous evaluation's.

    pip install --no-deps openpi-client==0.1.2 && pip install dm-tree typing_extensions
    python benchmarks/openpi_robot.py --out DIR [--model pusht] [--episodes 100] [--seed 0]

Its ActionChunkBroker asks `wmplan serve` for a plan and hands out the plan's actions one robot step at a time, as in
the README's recipe. Instances, random streams, planner and budget are those of `wmplan eval`, so both should succeed
on the same instances; the comparison is paired (McNemar).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from openpi_client.action_chunk_broker import ActionChunkBroker
from openpi_client.websocket_client_policy import WebsocketClientPolicy
from realtime import serving
from tqdm import tqdm

from wmplan.atomic_io import write_json
from wmplan.evaluation.evaluate import evaluate
from wmplan.evaluation.instances import Instance, generate_instances
from wmplan.evaluation.intervals import wilson
from wmplan.evaluation.paired import mcnemar
from wmplan.evaluation.protocol import Protocol
from wmplan.evaluation.worker import Unit, unit_seed


def play(env: Any, policy: WebsocketClientPolicy, instance: Instance, seed: int, budget: int) -> dict[str, bool]:
    """Whether each rule of the task held at any time."""
    instance.start(env)
    goal = env.goal_observation()["pixels"]
    policy.infer({"wmplan": "reset", "seed": seed})
    broker = ActionChunkBroker(policy, policy.get_server_metadata()["action_horizon"])
    held: dict[str, bool] = {}
    for _ in range(budget):
        action = broker.infer({**env.observe(), "goal": goal})["actions"]
        *_, info = env.step(np.asarray(action))
        held = {rule: held.get(rule, False) or bool(holds) for rule, holds in info["rules"].items()}
    return held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="pusht")
    parser.add_argument("--task", default="wmplan.envs:wmplan/PushT-v0")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    protocol = Protocol()
    result = evaluate(
        options.model, options.task, options.out / "synchronous", episodes=options.episodes, seed=options.seed,
        rows=["planner"],
    )  # fmt: skip
    synchronous = {record["instance"]: record for record in result["per_episode"] if record["row"] == "planner"}
    env: Any = gymnasium.make(options.task).unwrapped
    served: dict[int, dict[str, bool]] = {}
    with serving(options.model, "preset") as url:
        host, port = url.removeprefix("ws://").split(":")
        policy = WebsocketClientPolicy(host, int(port))
        for instance in tqdm(generate_instances(env, protocol, options.episodes, options.seed), disable=None):
            seed = unit_seed(options.seed, Unit("planner", 0, instance.instance))
            served[instance.instance] = play(env, policy, instance, seed, protocol.steps)
    rows: dict[str, Any] = {}
    for rule in next(iter(served.values())):
        ours = [bool(synchronous[number]["rules"][rule]["success"]) for number in served]
        theirs = [held[rule] for held in served.values()]
        test = mcnemar(ours, theirs)
        differ = test.only_first + test.only_second
        rows[rule] = {
            "synchronous": sum(ours) / len(ours),
            "synchronous_ci95": wilson(sum(ours), len(ours)),
            "openpi": sum(theirs) / len(theirs),
            "openpi_ci95": wilson(sum(theirs), len(theirs)),
            "only_synchronous": test.only_first,
            "only_openpi": test.only_second,
            "p_value": test.p_value,
        }
        print(
            f"{rule}, any time: openpi's client {100 * rows[rule]['openpi']:.0f} %, wmplan eval "
            f"{100 * rows[rule]['synchronous']:.0f} %; {differ} of {len(ours)} instances differ, "
            f"p = {test.p_value:.2f}"
        )
    write_json(options.out / "openpi_robot.json", {"episodes": options.episodes, "seed": options.seed, "rules": rows})


if __name__ == "__main__":
    main()
