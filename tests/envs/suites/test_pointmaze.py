"""PointMaze's rules are the suite's and the papers'."""

from __future__ import annotations

import numpy as np

from wmplan.envs.suites.pointmaze import PointMazeTask


def test_rules_by_hand() -> None:
    task, goal = PointMazeTask(), np.array([1.0, 1.0, 0.0, 3.0])
    states = np.array([[1.0, 1.0, 5.0, 0.0], [1.0, 1.44, 0.0, 0.0], [1.0, 1.47, 0.0, 0.0], [1.0, 2.0, 0.0, 0.0]])
    rules = task.rules(states, goal)
    assert rules["place"].tolist() == [True, True, False, False]
    assert rules["jepa_wms"].tolist() == [True, True, True, False]
    assert task.progress(states, goal).tolist() == [False, False, True, True]
