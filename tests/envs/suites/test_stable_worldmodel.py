"""stable-worldmodel's own tasks: pictures and success as it has them, data that cover the rooms and push the block."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from wmplan.data.registered import make_environment
from wmplan.data.symmetry import Symmetry
from wmplan.envs.suites.packages import STABLE_WORLDMODEL
from wmplan.envs.suites.swm_pusht import SwmPushTTask
from wmplan.envs.suites.swm_tworoom import TwoRoomTask, through_door
from wmplan.registry import TASKS
from wmplan.settings.build import convert


def made(name: str) -> Any:
    for module in STABLE_WORLDMODEL.needs:
        pytest.importorskip(module)
    if not STABLE_WORLDMODEL.is_installed:
        pytest.skip(STABLE_WORLDMODEL.advice)
    return make_environment(TASKS[name].id, {"image_size": 64})


def test_rules_by_hand() -> None:
    goal = np.array([50.0, 60.0])
    states = np.array([[50.0, 60.0], [50.0, 75.9], [66.0, 60.0]])
    assert TwoRoomTask().rules(states, goal)["place"].tolist() == [True, True, False]
    apart = np.zeros((3, 5))
    apart[1, :4], apart[2, 4] = [10, 10, 10, 10], 0.4
    assert SwmPushTTask().rules(apart, np.zeros(5))["public"].tolist() == [True, False, False]


def test_a_disc_that_left_the_table_is_no_goal() -> None:
    states = np.array([[256.0, 0.0, 300, 300, 0], [256, -3, 300, 300, 0], [540, 100, 300, 300, 0]])
    assert SwmPushTTask().may_be_goal(states).tolist() == [True, False, False]


def test_the_way_leads_through_the_door() -> None:
    place, goal, door = np.array([30.0, 200.0]), np.array([200.0, 190.0]), np.array([112.0, 49.0])
    crossed = []
    for _ in range(120):
        step = through_door(place, goal, door)
        assert np.linalg.norm(step) <= 1 + 1e-9
        before, place = place, place + 5 * step
        if (before[0] > 112) != (place[0] > 112):
            crossed.append(place[1])
    assert len(crossed) == 1 and abs(crossed[0] - 49) < 15.75  # the door, as wide as the suite has it
    np.testing.assert_allclose(place, goal, atol=1e-6)


@pytest.mark.parametrize("name", ["swm_pusht", "swm_tworoom"])
def test_pictures_are_the_suites_own_to_the_bit(name: str) -> None:
    env = made(name)
    for seed in range(8):
        env.reset(seed=seed)
        policy = env.exploration_policy(np.random.default_rng(seed))
        for _ in range(7):
            env.step_physics(policy(env.task_state()))
        drawn, names = env.render((224, 224)), env.inner.render.__func__.__globals__
        numpy_of_ours, names["np"] = names["np"], np
        np.testing.assert_array_equal(drawn, env.inner.render())
        names["np"] = numpy_of_ours
    env.close()


@pytest.mark.parametrize(("name", "spread"), [("swm_pusht", [9, 9, 9, 9, 0.2]), ("swm_tworoom", [11, 11])])
def test_success_is_as_the_suite_counts_it(name: str, spread: list[float]) -> None:
    """Its own step says `terminated` for a goal that its own function has set."""
    env, rng, counted = made(name), np.random.default_rng(0), []
    for seed in range(40):
        env.reset(seed=seed)
        state, place = env.get_state(), env.task_state()
        goal = np.clip(place + rng.normal(0, spread), *((14, 209) if name == "swm_tworoom" else (-600, 600)))
        env.set_state(np.append(state[: len(state) - len(goal)], goal))
        counted.append(env.succeeded)
        env.inner._set_goal_state(goal if name == "swm_tworoom" else np.append(goal, [0.0, 0.0]))
        assert env.inner.step(np.zeros(2))[2] == counted[-1]
    assert 5 < sum(counted) < 35
    env.close()


def test_collection_covers_both_rooms_and_goes_through_the_door() -> None:
    env, crossings, places = made("swm_tworoom"), 0, []
    for seed in range(6):
        env.reset(seed=seed)
        policy = env.exploration_policy(np.random.default_rng(seed))
        for _ in range(150):
            before = env.task_state()
            env.step_physics(policy(before))
            crossings += (before[0] > 112) != (env.task_state()[0] > 112)
            places.append(env.task_state())
    assert crossings >= 6
    reached = np.histogram2d(*np.array(places).T, bins=4, range=[[14, 210]] * 2)[0]
    assert (reached > 0).mean() > 0.8
    env.close()


def test_collection_pushes_the_block_and_keeps_it_on_the_table() -> None:
    env, moved, seen = made("swm_pusht"), 0, []
    for seed in range(10):
        env.reset(seed=seed)
        start = env.task_state()
        env.step_physics(np.zeros(2))
        np.testing.assert_allclose(env.task_state()[:2], start[:2], atol=1.0)  # it comes to rest
        policy = env.exploration_policy(np.random.default_rng(seed))
        for _ in range(80):
            env.step_physics(policy(env.task_state()))
            seen.append(np.abs(env.task_state()[2:4] - 256).max() < 256)
        moved += float(np.linalg.norm(env.task_state()[2:4] - start[2:4])) > 10
    assert moved >= 7 and np.mean(seen) > 0.97
    env.close()


# Of a state: place and speed of the disc, of the block, the block's turn and its speed.
MIRRORS = {
    "flip_columns": (np.array([-1, 1, -1, 1, -1, 1, -1, 1]), lambda turn: -turn, -1),
    "flip_rows": (np.array([1, -1, 1, -1, 1, -1, 1, -1]), lambda turn: np.pi - turn, -1),
    "half_turn": (np.array([-1, -1, -1, -1, -1, -1, -1, -1]), lambda turn: np.pi + turn, 1),
}


@pytest.mark.parametrize("name", MIRRORS)
def test_a_mirrored_push_is_what_the_symmetry_says(name: str) -> None:
    env, signs, (sign, turned, way) = made("swm_pusht"), np.full(8, 256.0), MIRRORS[name]
    signs[[2, 3, 6, 7]] = 0  # speeds have no middle
    given = convert(TASKS["swm_pusht"].symmetries[name], Symmetry, name)
    frames = []
    for seed in range(60):
        env.reset(seed=seed)
        frames.append(env.render().copy())
    background = torch.from_numpy(np.median(frames, axis=0).astype(np.uint8))
    pushed = 0
    for seed in range(12):
        env.reset(seed=seed)
        env.rest_at(np.array([200.0 + seed, 150.0]), np.array([230.0, 240.0]), 0.3 * seed)
        state, before = env.get_state(), env.task_state()
        other = state.copy()
        other[:8] = signs + sign * (state[:8] - signs)
        other[8], other[9] = turned(state[8]), way * state[9]
        actions = torch.tensor([[0.1, 0.8]] * 8)
        for action in actions:
            env.step_physics(action.double().numpy())
        frame, after = torch.from_numpy(env.render().copy()), env.task_state()
        pushed += np.linalg.norm(after[2:4] - before[2:4]) > 20
        env.set_state(other)
        for action in given.map_actions(actions):
            env.step_physics(action.double().numpy())
        copied = given.map_proprio(torch.from_numpy(after[None, :2]))[0].numpy()
        np.testing.assert_allclose(copied, env.task_state()[:2], atol=1.0)
        apart = given.map_frames(frame, background).int() - torch.from_numpy(env.render().copy()).int()
        assert apart.abs().float().mean() < 1.5  # of 255; a flipped green T alone is 5
    assert pushed >= 6
    env.close()
