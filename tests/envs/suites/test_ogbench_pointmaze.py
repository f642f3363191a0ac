"""OGBench's pointmaze: the maze is the suite's, steps are its own, and NumPy's own generator is untouched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wmplan.data.registered import make_environment
from wmplan.envs.suites.ogbench_pointmaze import OGBenchMazeTask
from wmplan.errors import UserError
from wmplan.registry import TASKS

MAZES = ["ogbench_pointmaze_medium", "ogbench_pointmaze_large"]


def made(task: str, **options: Any) -> Any:
    pytest.importorskip("ogbench")
    return make_environment(TASKS[task].id, {"image_size": 64, **options})


def test_rules_by_hand() -> None:
    task, goal = OGBenchMazeTask(), np.array([4.0, 8.0])
    states = np.array([[4.0, 8.0], [4.6, 8.7], [4.8, 8.7]])
    assert task.rules(states, goal)["place"].tolist() == [True, True, False]
    np.testing.assert_allclose(task.distance(states, goal), [0, np.sqrt(0.85), np.sqrt(1.13)])


@pytest.mark.parametrize("task", MAZES)
def test_cells_are_the_suites(task: str) -> None:
    env = made(task)
    free = {tuple(env.inner.ij_to_xy(cell)) for cell in np.argwhere(env.inner.maze_map == 0)}
    assert {tuple(env.maze.centre(cell)) for cell in env.maze.cells} == free
    env.reset(seed=0)
    for goal in env.maze.cells[::5]:  # each way begins as the suite's own breadth-first search has it
        for start in env.maze.cells[::3]:
            subgoal, steps = env.inner.get_oracle_subgoal(env.maze.centre(start), env.maze.centre(goal))
            way = env.maze.way(start, goal)
            assert len(way) == steps[env.inner.xy_to_ij(env.maze.centre(start))]
    env.close()


@pytest.mark.parametrize("task", MAZES)
def test_steps_are_the_suites_own(task: str) -> None:
    env = made(task)
    env.reset(seed=2)
    state = env.get_state()
    actions = np.repeat(np.random.default_rng(0).uniform(-1, 1, (10, 2)), 10, axis=0)
    seen = [env.inner.step(action) for action in actions]
    env.set_state(state)
    for action, (place, _, _, _, info) in zip(actions, seen, strict=True):
        env.step_physics(action)
        np.testing.assert_array_equal(env.task_state(), place)
        assert env.succeeded == bool(info["success"])
    env.close()


def test_starts_and_goals() -> None:
    tasks, anywhere = made(MAZES[0], goals="tasks"), made(MAZES[0])
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    cells: dict[bool, set[Any]] = {True: set(), False: set()}
    for seed in range(20):
        for env in (tasks, anywhere):
            env.reset(seed=seed)
            ends = [env.task_state(), env.goal]
            for end in ends:
                assert np.abs(end - env.maze.centre(env.maze.cell(end))).max() <= 1
            cells[env is tasks].add(tuple(env.inner.xy_to_ij(end) for end in ends))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # type: ignore[index]
    known = {(tuple(told["init_ij"]), tuple(told["goal_ij"])) for told in tasks.inner.task_infos}
    assert cells[True] <= known and len(cells[True]) > 3 and len(cells[False]) > 15
    tasks.close()
    anywhere.close()
    with pytest.raises(UserError, match="goals must be one of random, tasks, got 'any'"):
        made(MAZES[0], goals="any")


@pytest.mark.parametrize("task", MAZES)
def test_exploration_goes_about_and_meets_walls(task: str) -> None:
    env = made(task)
    env.reset(seed=0)
    policy, cells, stopped = env.exploration_policy(np.random.default_rng(2)), set(), 0
    for _ in range(600):
        before = env.task_state()
        action = policy(before)
        env.step_physics(action)
        cells.add(env.maze.cell(env.task_state()))
        stopped += bool(np.abs(env.task_state() - before - 0.2 * action).max() > 0.02)
    assert len(cells) > 6 and stopped > 5
    env.close()


def test_the_ball_shows() -> None:
    """Its frame differs where the ball is, and nowhere else."""
    env = made(MAZES[0])
    env.reset(seed=0)
    frames = []
    for cell in (env.maze.cells[0], env.maze.cells[-1]):
        env.inner.set_xy(env.maze.centre(cell))
        frames.append(env.render().astype(int))
    where = np.argwhere(np.abs(frames[0] - frames[1]).max(-1) > 60)
    low, high = where[where[:, 0] > 32], where[where[:, 0] <= 32]  # the ends are below and above
    assert 6 <= len(low) <= 30 and 6 <= len(high) <= 30
    assert np.ptp(low, axis=0).max() <= 5 and np.ptp(high, axis=0).max() <= 5
    env.close()
