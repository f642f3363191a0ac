"""The cube of OGBench: rules by hand, steps that are its own, its five tasks, and NumPy's own generator untouched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wmplan.data.registered import make_environment
from wmplan.envs.suites.ogbench import OBJECT, CubeTask
from wmplan.errors import UserError
from wmplan.registry import TASKS


def made(**options: Any) -> Any:
    pytest.importorskip("ogbench")
    return make_environment(TASKS["ogbench_cube_single"].id, {"image_size": 64, **options})


def test_rules_by_hand() -> None:
    task, goal = CubeTask(), np.zeros(13)
    states = np.zeros((3, 13))
    states[1, 0], states[2, OBJECT] = 0.06, [0.03, 0.03, 0]
    rules = task.rules(states, goal)
    assert rules["object"].tolist() == [True, True, False]
    assert rules["hand_and_object"].tolist() == [True, False, False]
    assert task.distance(states, goal)[2] == pytest.approx(np.sqrt(0.0018) / 0.04)


def test_steps_are_the_suites_own() -> None:
    env = made()
    env.reset(seed=2)
    state, rng = env.get_state(), np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (20, 5))
    seen = [env.inner.step(action)[4] for action in actions]
    env.set_state(state)
    for action, info in zip(actions, seen, strict=True):
        env.step_physics(action)
        told = env.task_state()
        np.testing.assert_array_equal(told[OBJECT], info["privileged/block_0_pos"])
        np.testing.assert_array_equal(told[:3], info["proprio/effector_pos"])
        np.testing.assert_allclose(np.arctan2(told[4], told[3]), info["proprio/effector_yaw"][0], atol=1e-9)
        assert env.succeeded == bool(info["success"])
    env.close()


def test_the_suites_tasks_and_its_random_scenes() -> None:
    tasks, scenes = made(goals="tasks"), made()
    places: dict[bool, set[tuple[float, ...]]] = {True: set(), False: set()}
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    for seed in range(8):
        for env in (tasks, scenes):
            env.reset(seed=seed)
            places[env is tasks].add(tuple(np.round(env.inner.data.mocap_pos[env.target], 6)))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # type: ignore[index]
    known = {tuple(np.round(info["goal_xyzs"][0], 6)) for info in tasks.inner.task_infos}
    assert places[True] <= known and len(places[True]) > 2 and len(places[False]) == 8
    tasks.close()
    scenes.close()
    with pytest.raises(UserError, match="goals must be one of random, tasks, got 'any'"):
        made(goals="any")
