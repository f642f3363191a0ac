"""OGBench's scene: rules by hand, steps that are its own, locks that lock, its five tasks and its experts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wmplan.data.registered import make_environment
from wmplan.envs.suites.ogbench_scene import BUTTONS, DRAWER, WINDOW, SceneTask
from wmplan.registry import TASKS


def made(**options: Any) -> Any:
    pytest.importorskip("ogbench")
    return make_environment(TASKS["ogbench_scene"].id, {"image_size": 64, **options})


def test_rules_by_hand() -> None:
    task = SceneTask()
    goal = np.zeros(len(task.state_names))
    states = np.zeros((6, len(goal)))
    states[1, :6] = 1  # the hand is no part of it
    states[2, 6:9], states[3, DRAWER], states[4, WINDOW] = [0.03, 0.03, 0], 0.05, 0.03
    states[5, BUTTONS] = [0, 1]
    rules = task.rules(states, goal)
    assert rules["all"].tolist() == [True, True, False, False, True, False]
    assert rules["cube"].tolist() == [True, True, False, True, True, True]
    assert rules["drawer"].tolist() == [True, True, True, False, True, True]
    assert rules["window"].tolist() == [True] * 6
    assert rules["buttons"].tolist() == [True, True, True, True, True, False]
    np.testing.assert_allclose(task.distance(states, goal), [0, 0, np.sqrt(0.0018) / 0.04, 1.25, 0.75, 2])
    assert next(iter(rules)) == "all" and task.progress(states, goal).tolist() == [not one for one in rules["all"]]
    assert task.state_names[DRAWER] == "drawer_open_m" and task.state_names[WINDOW] == "window_open_m"
    assert task.state_names[BUTTONS] == ("drawer_unlocked", "window_unlocked")


def test_steps_are_the_suites_own_and_a_pressed_button_comes_back_with_a_state() -> None:
    env = made()
    env.reset(seed=3)
    start = env.get_state()
    policy, actions, seen = env.press(np.random.default_rng(0), 0), [], []
    for _ in range(30):
        actions.append(policy(env.task_state()))
        seen.append(env.inner.step(actions[-1])[4])
    assert len({int(info["privileged/button_0_state"]) for info in seen}) == 2
    env.set_state(start)
    for action, info in zip(actions, seen, strict=True):
        env.step_physics(action)
        told = env.task_state()
        np.testing.assert_array_equal(told[:3], info["proprio/effector_pos"])
        np.testing.assert_array_equal(
            told[6:13], np.append(info["privileged/block_0_pos"], info["privileged/block_0_quat"])
        )
        np.testing.assert_array_equal(told[DRAWER], -info["privileged/drawer_pos"][0])
        np.testing.assert_array_equal(told[WINDOW], info["privileged/window_pos"][0])
        np.testing.assert_array_equal(told[BUTTONS], info["button_states"])
    env.close()


def test_a_locked_drawer_stays_and_the_handle_tells() -> None:
    env = made(goals="tasks")
    env._begin(0, 4)  # both locked, both closed
    locked, frame = env.get_state(), env.render()
    slid = {}
    for unlocked in (0, 1):
        env.set_state(locked)
        env.inner._cur_button_states[0] = unlocked
        env.inner._apply_button_states()
        state = env.get_state()
        assert np.array_equal(frame, env.render()) == (unlocked == 0)  # its handle is white, no longer red
        env.set_state(locked)
        env.set_state(state)
        for _ in range(20):
            env.inner.data.joint("drawer_slide").qvel[:] = -0.5
            env.step_physics(np.zeros(5))
        slid[unlocked] = env.task_state()[DRAWER]
    assert slid[0] < 0.02 and slid[1] > 0.1
    env.close()


def test_a_random_goal_moves_one_object_and_a_task_is_one_of_five() -> None:
    scenes, tasks = made(), made(goals="tasks")
    moved, before = set(), np.random.get_state()[1].copy()  # type: ignore[index]
    for seed in range(10):
        scenes.reset(seed=seed)
        changed = np.abs(scenes.task_state() - scenes.goal)[6:] > 1e-6
        kinds = {"cube": changed[:7].any(), "drawer": changed[7], "window": changed[8], "button": changed[9:].any()}
        assert [name for name, one in kinds.items() if one] == [scenes.inner._target_task]
        moved.add(scenes.inner._target_task)
        tasks.reset(seed=seed)
        told = tasks.inner.cur_task_info["goal"]
        np.testing.assert_allclose(tasks.goal[6:9], told["block_xyzs"][0], atol=1e-9)
        np.testing.assert_allclose(
            tasks.goal[DRAWER:], [-told["drawer_pos"], told["window_pos"], *told["button_states"]]
        )
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # type: ignore[index]
    assert len(moved) > 2
    scenes.close()
    tasks.close()


@pytest.mark.parametrize("task", [4, 5])  # the cube into the drawer; what is locked has to be unlocked before
def test_the_expert_does_the_suites_hardest_tasks(task: int) -> None:
    env = made(goals="tasks")
    env._begin(task, task)
    expert = env.expert_policy(np.random.default_rng(0))
    for _ in range(750):
        env.step_physics(expert(env.task_state()))
        if env.succeeded:
            break
    assert env.succeeded
    env.close()


def test_exploration_moves_every_object() -> None:
    env = made()
    still = {"cube": True, "drawer": True, "window": True, "buttons": True}
    for seed in range(12):
        env.reset(seed=seed)
        start, policy = env.task_state(), env.exploration_policy(np.random.default_rng(seed))
        for _ in range(150):
            env.step_physics(policy(env.task_state()))
        rules = env.task.rules(env.task_state(), start)
        still = {name: here and bool(rules[name]) for name, here in still.items()}
        if not any(still.values()):
            break
    assert not any(still.values())
    env.close()
