"""Run by the python of an environment with stable-worldmodel: what was recorded, and nothing, played in its World."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from wmplan.evaluation.evaluate import evaluate
from wmplan.evaluation.instances import load_instances
from wmplan.evaluation.protocol import Protocol
from wmplan.registry import TASKS
from wmplan.suite.world import play_in_world


class Told:
    """Does what it is told of the instances that are played, in their order; nothing when that is over."""

    def __init__(self, actions: np.ndarray, pool: int) -> None:
        self.actions, self.pool, self.begin, self.step = actions, pool, -pool, 0

    def set_env(self, envs: object) -> None:
        self.begin, self.step = self.begin + self.pool, 0

    def get_action(self, infos: dict) -> np.ndarray:
        own = self.actions[self.begin : self.begin + self.pool]
        self.step += 1
        return own[:, self.step - 1] if self.step <= own.shape[1] else np.zeros_like(own[:, 0])


task, out = sys.argv[1], Path(sys.argv[2])
protocol = Protocol.named("lewm", task)
evaluate(None, TASKS[task].id, out / "own", protocol=protocol, episodes=7, seed=5, rows=["replay", "noop"], workers=1)
actions = np.stack([one.actions for one in load_instances(out / "own" / "instances.json")])
told = {}
for name, play in {"replay": actions, "noop": np.zeros_like(actions)}.items():
    found = play_in_world(Told(play, 4), out / "own", out / name, name=name, pool=4)
    told[name] = [one["success"] for one in found["per_episode"]]
    told[f"own {name}"] = [
        one["success"]
        for one in json.loads((out / "own" / "results.json").read_text())["per_episode"]
        if one["row"] == name
    ]
print(json.dumps(told))
