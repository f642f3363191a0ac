"""protocol.goal=scene: the planner is shown the goal without the robot, and reaches what else it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wmplan
from wmplan.control import MaskedGoal, make_controller
from wmplan.data.registered import make_environment
from wmplan.errors import UserError
from wmplan.evaluation import evaluate
from wmplan.evaluation.instances import generate_instances
from wmplan.evaluation.policies import PlannerRow, shown_goal
from wmplan.evaluation.protocol import Protocol
from wmplan.evaluation.rollout import judge, play

SCENE = Protocol(goal="scene")


def test_the_planner_sees_the_goal_image_and_where_it_counts() -> None:
    picture, mask = np.full((8, 8, 3), 7, np.uint8), np.tri(8, dtype=bool)

    class Masked:
        def goal_observation(self) -> dict[str, np.ndarray]:
            return {"pixels": picture, "proprio": np.zeros(2, np.float32)}

        def goal_mask(self) -> np.ndarray:
            return mask

    env: Any = Masked()
    shown = shown_goal(env, SCENE)
    assert isinstance(shown, MaskedGoal) and shown.proprio is None
    np.testing.assert_array_equal(shown.image, picture)
    np.testing.assert_array_equal(shown.mask, mask)
    assert shown_goal(env, Protocol()).keys() == {"pixels"}
    assert shown_goal(env, Protocol(goal="image+proprio")).keys() == {"pixels", "proprio"}


def test_an_environment_that_cannot_tell_the_robot_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"protocol.goal=scene cannot be had: .*no goal_mask \(ability goal mask"):
        evaluate("arm_reach", "wmplan.envs:wmplan/ArmReach-v0", tmp_path / "out", protocol=SCENE, rows=["planner"])
    assert not (tmp_path / "out").exists()


def test_push_t_brings_the_block_to_its_goal_wherever_the_pusher_is() -> None:
    model, env = wmplan.load("pusht"), make_environment("wmplan.envs:wmplan/PushT-v0", {"image_size": (64, 64)})
    instance = generate_instances(env, SCENE, 4, seed=2000)[3]
    row = PlannerRow(make_controller(model), SCENE)
    judged = judge(env, play(env, instance, row, seed=0, budget=30), "block")
    assert judged["success"]
    env.close()
