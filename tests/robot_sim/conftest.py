"""The point robot, for tests of everything around it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def point():
    from point_robot import PointRobot

    env = PointRobot()
    env.reset(seed=0, options={"state": [0.0, 0.0], "goal_state": [0.3, 0.4]})
    return env
