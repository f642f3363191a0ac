"""stable-worldmodel's World plays our instances: what was recorded reaches their goals there, too.

The tests against the published package need WMPLAN_PEER_PYTHON, the python of an environment with stable-worldmodel
whole and wmplan.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from wmplan.data.registered import make_environment
from wmplan.envs.suites.packages import STABLE_WORLDMODEL
from wmplan.errors import NotPossibleError
from wmplan.evaluation.evaluate import evaluate
from wmplan.evaluation.instances import load_instances
from wmplan.evaluation.protocol import Protocol
from wmplan.registry import TASKS
from wmplan.suite.world import InstanceData, play_in_world

PEER = os.environ.get("WMPLAN_PEER_PYTHON")


@pytest.mark.skipif(not PEER, reason="WMPLAN_PEER_PYTHON names no Python with stable-worldmodel")
@pytest.mark.parametrize("task", ["swm_tworoom", "swm_pusht"])
def test_what_was_recorded_reaches_the_goals_in_its_world(task: str, tmp_path: Path) -> None:
    script = Path(__file__).parent / "replay_in_world.py"
    done = subprocess.run([str(PEER), str(script), task, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert told["own replay"] == [True] * 7 and told["noop"] == told["own noop"]
    assert sum(told["replay"]) >= (7 if task == "swm_tworoom" else 5)  # Push-T steps from a space that goes on


def test_instances_become_episodes_of_a_start_and_a_goal(tmp_path: Path) -> None:
    for module in STABLE_WORLDMODEL.needs:
        pytest.importorskip(module)
    if not STABLE_WORLDMODEL.is_installed:
        pytest.skip(STABLE_WORLDMODEL.advice)
    identity = TASKS["swm_pusht"].id
    evaluate(None, identity, tmp_path / "own", protocol=Protocol.named("lewm"), episodes=2, rows=["noop"], workers=1)
    env, given = make_environment(identity, {"image_size": 64}), load_instances(tmp_path / "own" / "instances.json")
    data = InstanceData(env, given)
    found = data.load_chunk(np.array([1, 0]), np.zeros(2, int), np.ones(2, int))
    for one, instance in zip(found, reversed(given), strict=True):
        assert one["pixels"].shape == (2, 3, 224, 224) and one["state"].shape == (2, 7)
        env.set_state(np.asarray(instance.goal_state))
        np.testing.assert_array_equal(one["pixels"][1].permute(1, 2, 0).numpy(), env.render((224, 224)))
        np.testing.assert_allclose(env.from_world(one["state"][1].numpy()), env.task_state())
        np.testing.assert_array_equal(one["proprio"][1], one["state"][1][[0, 1, 5, 6]])
    env.close()


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="it may be there whole")
def test_without_the_whole_package_it_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(NotPossibleError, match="cannot be imported whole .*torchvision"):
        play_in_world(None, tmp_path, tmp_path / "out", name="none")
