"""gym-pusht: rules by hand, the suite's fixed goal, and data in which the block is pushed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wmplan.data.registered import make_environment
from wmplan.envs.suites.gym_pusht import GymPushTTask
from wmplan.registry import TASKS


def made() -> Any:
    for module in ("gym_pusht", "cv2"):
        pytest.importorskip(module)
    return make_environment(TASKS["gym_pusht"].id, {"image_size": 64})


def test_rules_by_hand() -> None:
    task, goal = GymPushTTask(), np.zeros(5)
    states = np.zeros((4, 5))
    states[1, :4], states[2, 0], states[3, 4] = [9, 9, 9, 9], 25, 2 * np.pi - 0.3
    assert task.rules(states, goal)["public"].tolist() == [True, True, False, True]
    assert task.rules(states, goal)["block"].tolist() == [True, True, True, True]
    assert task.progress(states, goal).tolist() == [False] * 4
    np.testing.assert_allclose(task.distance(states, goal), [0, 0.9, 1.25, 0.3 / (np.pi / 9)])


def test_the_suites_goal_is_its_fixed_one() -> None:
    env = made()
    env.reset(seed=0)
    np.testing.assert_allclose(env.goal[2:], [256, 256, np.pi / 4], atol=1e-6)
    env.set_state(env.goal_state)
    assert env.succeeded and env.inner._get_coverage() > 0.999
    env.close()


def test_zeros_do_nothing_and_the_policy_pushes() -> None:
    env, moved = made(), 0
    for seed in range(6):
        env.reset(seed=seed)
        start = env.task_state()
        env.step_physics(np.zeros(2))
        np.testing.assert_allclose(env.task_state()[:2], start[:2], atol=1e-6)
        policy = env.exploration_policy(np.random.default_rng(seed))
        for _ in range(80):
            env.step_physics(policy(env.task_state()))
        moved += float(np.linalg.norm(env.task_state()[2:4] - start[2:4])) > 10
    assert moved >= 4
    env.close()
