"""Metaworld: rules of the suite and of jepa-wms, data with contact and failures, goals that its expert has reached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wmplan.data.collection import CollectConfig, collect
from wmplan.data.policies import CollectionPolicy
from wmplan.data.registered import make_environment
from wmplan.envs.suites.metaworld import HAND, OBJECT, TIP, MetaworldTask
from wmplan.evaluation.instances import generate_instances
from wmplan.evaluation.protocol import Protocol
from wmplan.registry import TASKS


def made(task: str) -> Any:
    pytest.importorskip("metaworld")
    return make_environment(TASKS[f"metaworld_{task}"].id, {"image_size": 64})


def test_rules_by_hand() -> None:
    reach, push = MetaworldTask("hand", 0.05), MetaworldTask("object", 0.05)
    goal = np.zeros(14)
    near, moved, beside = goal.copy(), goal.copy(), goal.copy()
    near[TIP], moved[OBJECT], beside[3] = [0.03, 0.04, 0], [0, 0.06, 0], 0.25
    states = np.stack([goal, near, moved, beside])
    assert reach.rules(states, goal)["hand"].tolist() == [True, True, True, True]
    assert push.rules(states, goal)["object"].tolist() == [True, True, False, True]
    assert push.rules(states, goal)["hand_and_object"].tolist() == [True, True, False, True]
    assert push.rules(states, goal)["jepa_wms"].tolist() == [True, True, True, False]  # 0.25 * sqrt(2) > 0.3
    np.testing.assert_allclose(reach.distance(states, goal), [0, 1, 0, 0])
    np.testing.assert_allclose(push.distance(states, goal), [0, 0, 1.2, 0])
    assert push.progress(states, goal).tolist() == [False, False, True, False]


def test_steps_are_the_suites_own() -> None:
    """The same start and actions, without the adapter, lead to the same physics, observation and success."""
    env = made("push")
    env.reset(seed=3)
    inner = env.inner
    inner._last_rand_vec = np.concatenate([inner.obj_init_pos, inner._target_pos])
    rng, state = np.random.default_rng(0), env.get_state()
    actions = rng.uniform(-1, 1, (30, 4)).astype(np.float32)
    seen = [inner.step(action) for action in actions]
    qpos = inner.data.qpos.copy()
    env.set_state(state)
    for action, (observation, _, _, _, info) in zip(actions, seen, strict=True):
        env.step_physics(action)
        np.testing.assert_array_equal(env.task_state()[:11], observation[:11])
        assert env.succeeded == bool(info["success"])
    np.testing.assert_array_equal(inner.data.qpos, qpos)
    env.close()


def test_data_has_contact_success_and_failure() -> None:
    env = made("push")
    moved, succeeded = [], []
    for seed in range(12):
        env.reset(seed=seed)
        policy, start = env.exploration_policy(np.random.default_rng(seed)), env.task_state()
        for _ in range(100):
            env.step_physics(policy(env.task_state()))
        moved.append(float(np.linalg.norm(env.task_state()[OBJECT] - start[OBJECT])) > 0.02)
        succeeded.append(env.succeeded)
    assert sum(moved) >= 4 and sum(succeeded) < 9
    env.close()


def test_instances_of_the_expert_are_reached_by_its_actions() -> None:
    env = made("reach")
    protocol = Protocol(offset=100, budget=100, rule="environment", episode_steps=100)
    for instance in generate_instances(env, protocol, 3, 0, CollectionPolicy("expert")):
        instance.start(env)
        assert instance.step == 0 and not env.succeeded
        for action in instance.actions:
            env.step_physics(action)
        assert env.succeeded and env.task.distance(env.task_state(), env.goal) == 0
    env.close()


@pytest.mark.parametrize(
    ("task", "policy"), [("reach", "SawyerReachV3Policy"), ("reach_wall", "SawyerReachWallV3Policy")]
)
def test_the_expert_goes_on_after_its_first_success(task: str, policy: str) -> None:
    """As in jepa-wms, whose expert ends with its time limit of 100 steps; here the suite's own loop, without ours.

    The suite's policy takes the hand to the target, and its flag measures the fingertips, 4.5 cm below the hand.
    """
    env = made(task)
    protocol = Protocol(offset=100, budget=100, rule="environment", episode_steps=100)
    instance = generate_instances(env, protocol, 1, 4, CollectionPolicy("expert"))[0]
    instance.start(env)
    goal, inner = env.goal.copy(), env.inner
    expert, succeeded = getattr(pytest.importorskip("metaworld.policies"), policy)(), []
    observation = np.concatenate([inner._get_curr_obs_combined_no_goal()] * 2 + [inner._target_pos])
    for _ in range(100):
        observation[36:] = inner._target_pos
        observation, _, _, _, info = inner.step(np.clip(expert.get_action(observation), -1, 1).astype(np.float32))
        succeeded.append(bool(info["success"]))
    np.testing.assert_allclose(env.task_state(), goal, atol=1e-9)
    assert not succeeded[20] and all(succeeded[-30:])
    assert np.linalg.norm(goal[HAND] - inner._target_pos) < 0.012
    np.testing.assert_allclose((goal[TIP] - goal[HAND])[2], -0.045, atol=0.001)
    env.close()


def test_versions_of_the_suite_are_recorded(tmp_path: Path) -> None:
    pytest.importorskip("metaworld")
    task = TASKS["metaworld_reach"].id
    data = collect(CollectConfig(task, str(tmp_path / "data"), episodes=1, steps=3, processes=1), progress=False)
    assert data.meta.versions["metaworld"].startswith("3.") and data.meta.control_rate == 80
