"""Fetch: rules by hand, steps that are the suite's own, and a mend that leaves MuJoCo itself alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import mujoco
import numpy as np
import pytest

from wmplan.data.registered import make_environment
from wmplan.envs.suites.compatibility import mend_joint_types
from wmplan.envs.suites.fetch import FetchTask
from wmplan.evaluation.instances import generate_instances
from wmplan.evaluation.protocol import Protocol
from wmplan.registry import TASKS


def test_rules_by_hand() -> None:
    reach, push, goal = FetchTask(object=False), FetchTask(object=True), np.zeros(11)
    hand_off, block_off = goal.copy(), goal.copy()
    hand_off[:3], block_off[4:7] = [0.06, 0, 0], [0, 0.03, 0.04]
    assert reach.rules(hand_off[:4], goal[:4])["hand"].tolist() is False
    states = np.stack([goal, hand_off, block_off])
    assert push.rules(states, goal)["object"].tolist() == [True, True, False]
    assert push.rules(states, goal)["hand_and_object"].tolist() == [True, False, False]
    np.testing.assert_allclose(push.distance(states, goal), [0, 0, 1])
    assert len(reach.state_names) == 4 and len(push.state_names) == 11


def test_a_block_that_fell_is_no_goal() -> None:
    push, states = FetchTask(object=True), np.zeros((3, 11))
    states[:, 6] = [0.425, 0.6, 0.15]  # on the table, in the air, falling
    assert push.may_be_goal(states).tolist() == [True, True, False]
    assert FetchTask(object=False).may_be_goal(states[:, :4]).all()


@pytest.mark.slow
def test_every_goal_has_its_block_on_the_table() -> None:
    pytest.importorskip("gymnasium_robotics")
    env = make_environment(TASKS["fetch_push"].id, {"image_size": 16})
    instances = generate_instances(env, Protocol(), 20, seed=5)
    assert max(one.episode for one in instances) >= 20  # some were refused
    for one in instances:
        one.start(env)
        assert 0.41 < env.goal[6] < 0.6
    env.close()


def test_joint_types_are_mended_for_one_module_alone() -> None:
    module: Any = SimpleNamespace(mujoco=mujoco)
    mend_joint_types(module)
    assert np.int32(3) in (module.mujoco.mjtJoint.mjJNT_HINGE, module.mujoco.mjtJoint.mjJNT_SLIDE)
    assert np.int32(0) == module.mujoco.mjtJoint.mjJNT_FREE and module.mujoco.mj_step is mujoco.mj_step
    assert isinstance(mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint)


@pytest.mark.parametrize("task", ["fetch_push", "fetch_pick_and_place"])
def test_steps_are_the_suites_own(task: str) -> None:
    pytest.importorskip("gymnasium_robotics")
    env: Any = make_environment(TASKS[task].id, {"image_size": 64})
    env.reset(seed=3)
    state = env.get_state()
    actions = np.random.default_rng(0).uniform(-1, 1, (30, 4))
    seen = [env.inner.step(action) for action in actions]
    env.reset(seed=4)
    env.set_state(state)
    for action, (observation, _, _, _, info) in zip(actions, seen, strict=True):
        env.step_physics(action)
        np.testing.assert_array_equal(env.task_state()[:3], observation["observation"][:3])
        np.testing.assert_array_equal(env.task_state()[4:7], observation["achieved_goal"])
        assert env.succeeded == bool(info["is_success"])
    env.close()
