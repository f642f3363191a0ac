"""PointMaze's rules are the suite's and the papers'; its play pushes at walls."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from wmplan.data.registered import make_environment
from wmplan.envs.suites.mazes import PLACE
from wmplan.envs.suites.pointmaze import PointMazeTask
from wmplan.registry import TASKS


def test_rules_by_hand() -> None:
    task, goal = PointMazeTask(), np.array([1.0, 1.0, 0.0, 3.0])
    states = np.array([[1.0, 1.0, 5.0, 0.0], [1.0, 1.44, 0.0, 0.0], [1.0, 1.47, 0.0, 0.0], [1.0, 2.0, 0.0, 0.0]])
    rules = task.rules(states, goal)
    assert rules["place"].tolist() == [True, True, False, False]
    assert rules["jepa_wms"].tolist() == [True, True, True, False]
    assert task.progress(states, goal).tolist() == [False, False, True, True]


def test_play_pushes_at_walls_by_forces_that_change_slowly() -> None:
    """Plans do so, too: a model learns from it what walls do. UMaze's outer walls are 1.5 m from its middle."""
    pytest.importorskip("gymnasium_robotics")
    env: Any = make_environment(TASKS["pointmaze_umaze"].id, {"image_size": 64})
    env.reset(seed=0)
    policy, at_wall, actions = env.exploration_policy(np.random.default_rng(0)), 0, []
    for _ in range(600):
        state = env.task_state()
        at_wall += bool(np.abs(state[PLACE]).max() > 1.39)  # less the ball's radius of 0.1 m
        actions.append(policy(state))
        env.step_physics(actions[-1])
    env.close()
    changes = [float(np.abs(after - before).max()) for before, after in pairwise(actions)]
    assert at_wall > 100
    assert sum(0 < change < 0.1 for change in changes) > 200
    assert np.abs(actions).max() <= 1
