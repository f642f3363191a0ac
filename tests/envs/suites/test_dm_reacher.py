"""The reacher: rules by hand, steps as dm_control's own where that runs, and joint angles whose fingertip is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from wmplan.data.registered import make_environment
from wmplan.envs.suites.dm_reacher import TIP, ReacherTask
from wmplan.registry import TASKS


@pytest.fixture
def env() -> Iterator[Any]:
    pytest.importorskip("dm_control")
    made: Any = make_environment(TASKS["reacher"].id, {"image_size": 64})
    yield made
    made.close()


def test_rules_by_hand() -> None:
    task, goal = ReacherTask(), np.zeros(7)
    states = np.zeros((3, 7))
    states[:, 0], states[:, TIP.start] = 1, [0.02, 0.05, 0.07]
    assert task.rules(states, goal)["hard"].tolist() == [True, False, False]
    assert task.rules(states, goal)["easy"].tolist() == [True, True, False]
    np.testing.assert_allclose(task.distance(states, goal), [0.8, 2, 2.8])


def test_steps_are_those_of_dm_control(env: Any) -> None:
    try:
        from dm_control import suite

        theirs = suite.load("reacher", "hard", task_kwargs={"random": 0})
    except Exception as error:  # dm_control runs on some versions of MuJoCo only
        pytest.skip(f"dm_control does not run here: {error}")
    theirs.reset()
    physics = theirs.physics
    env.reset(seed=0)
    env.data.qpos[:], env.data.qvel[:] = physics.data.qpos, physics.data.qvel
    env.target[:] = physics.named.model.geom_pos["target"]
    env.set_state(env.get_state())
    for action in np.random.default_rng(0).uniform(-1, 1, (200, 2)):
        reward = theirs.step(action).reward
        env.step_physics(action)
        np.testing.assert_allclose(env.data.qpos, physics.data.qpos, atol=1e-9)
        assert env.succeeded == bool(reward)


def test_joint_angles_put_the_fingertip_there(env: Any) -> None:
    rng = np.random.default_rng(0)
    for seed in range(20):
        env.reset(seed=seed)
        place = env._random_target(rng)
        env.data.qpos[:] = env.joints_at(place, env.task_state())
        env.set_state(env.get_state())
        reached = env.task_state()[TIP]
        np.testing.assert_allclose(reached, place, atol=1e-6)


def test_lewms_rule_is_about_each_joint() -> None:
    def state(shoulder: float, wrist: float) -> np.ndarray:
        return np.array([np.cos(shoulder), np.sin(shoulder), wrist, 0, 0, 0, 0])

    goal = state(3.13, 1.0)
    near = np.stack([state(3.17, 0.96), state(3.10, 1.06), state(3.19, 1.0), state(-3.12, 1.0)])  # across half a turn
    assert ReacherTask().rules(near, goal)["lewm"].tolist() == [True, False, False, True]
