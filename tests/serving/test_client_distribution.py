"""wmplan-client on a computer without torch, planning through a server of this package in another process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

import wmplan
from wmplan.control import PlanningSession, PlanRequest

ROBOT = """
import importlib.util, json, sys
import numpy as np
from wmplan_client import PlanRequest, PolicyClient

for name in ("torch", "wmplan", "mujoco", "gymnasium"):
    assert importlib.util.find_spec(name) is None, name
seen = np.load(sys.argv[2])
with PolicyClient(sys.argv[1], timeout=60.0) as client:
    client.reset(seed=5)
    client.set_goal({"pixels": seen["goal"], "proprio": seen["proprio"]})
    plans = []
    executed = None
    for frame in seen["frames"]:
        reply = client.plan(PlanRequest({"pixels": frame, "proprio": seen["proprio"]}, executed=executed, epoch=2))
        executed = reply.actions[: client.metadata["action_horizon"]]
        plans.append(reply.actions.tolist())
print(json.dumps(plans))
"""


def test_it_is_sent_the_plans_that_are_made_here(client_python: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    seen = {
        "goal": rng.integers(0, 256, (64, 64, 3), np.uint8),
        "frames": rng.integers(0, 256, (2, 64, 64, 3), np.uint8),
        "proprio": np.zeros(2, np.float32),
    }
    np.savez(tmp_path / "seen.npz", **seen)
    session = PlanningSession(wmplan.load("pusht"))
    session.reset(5)
    session.set_goal({"pixels": seen["goal"], "proprio": seen["proprio"]})
    expected, executed = [], None
    for frame in seen["frames"]:
        reply = session.plan(PlanRequest({"pixels": frame, "proprio": seen["proprio"]}, executed=executed))
        executed = reply.actions[: session.replan_every]
        expected.append(reply.actions)

    command = [sys.executable, "-m", "wmplan.cli", "serve", "model=pusht", "port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        try:
            assert server.stdout is not None
            url = next(word for word in server.stdout.readline().split() if word.startswith("ws://"))
            robot = [client_python, "-c", ROBOT, url, str(tmp_path / "seen.npz")]
            done = subprocess.run(robot, capture_output=True, text=True, timeout=120, cwd=tmp_path)
        finally:
            server.terminate()
    assert done.returncode == 0, done.stderr
    plans = json.loads(done.stdout)
    assert len(plans) == len(expected)
    for plan, made_here in zip(plans, expected, strict=True):
        np.testing.assert_allclose(plan, made_here, atol=1e-5)
