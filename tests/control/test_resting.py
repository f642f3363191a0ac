"""A robot of which nothing is asked rests once its goal is there: a block and a robot on a line, in an exact latent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from wmplan.control.planning_core import PlanningQuery
from wmplan.control.resting import THERE, is_there, resting_plan
from wmplan.control.safety.limits import Limits
from wmplan.models.base import ModelSpec, WorldModel
from wmplan.planning.objectives.distances import LatentDistance
from wmplan.planning.objectives.parts import RobotAnywhere

ERROR = 0.1


class Line(WorldModel):
    """Latents [block + 2 x robot | robot], of which the first is off by ERROR after a step."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = ModelSpec(
            image_size=(8, 8), history=1, action_block=2, action_low=(-1.0, -1.0), action_high=(1.0, 1.0),
            action_mean=(0.0, 0.0), action_std=(1.0, 1.0),
            latent_shape=(2,), proprio_dim=1, proprio_mean=(0.0,), proprio_std=(1.0,),
        )  # fmt: skip
        self.error_scale = torch.full((2,), ERROR)

    def encode(self, frames: Any, proprio: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        raise NotImplementedError


def place(latents: Tensor, state: Tensor) -> Tensor:
    return torch.cat([latents[..., :1] + 2 * (state - latents[..., 1:]), state], -1)


def latent(block: float, robot: float) -> Tensor:
    return torch.tensor([block + 2 * robot, robot])


@pytest.mark.parametrize("robot", [0.3, -5.0, 40.0])
@pytest.mark.parametrize(("errors", "there"), [(0.0, True), (0.9 * THERE, True), (1.5 * THERE, False), (30.0, False)])
def test_it_is_there_where_all_but_the_robot_is(robot: float, errors: float, there: bool) -> None:
    # The block is off by so many usual errors, and the robot's own number by none: a root mean square over two.
    here = latent(1.0 + errors * ERROR * 2**0.5, robot)
    anywhere = RobotAnywhere(LatentDistance(), place, 1)
    assert is_there(Line(), anywhere, here, latent(1.0, 0.3)) is there


def test_a_goal_that_asks_for_the_robot_is_left_to_the_planner() -> None:
    goal = latent(1.0, 0.3)
    assert not is_there(Line(), LatentDistance(), goal, goal)
    assert not is_there(Line(), None, goal, goal)


def query(last: list[float], committed: list[list[float]], max_change: tuple[float, ...] | None) -> PlanningQuery:
    there = torch.zeros(2)
    rows = np.array(committed, np.float32).reshape(-1, 2)
    return PlanningQuery(there[None], None, there, 0, rows, np.array(last, np.float32), max_change, torch.Generator())


def test_it_holds_what_is_held_and_stops_the_rest() -> None:
    limits = Limits((-1.0, -1.0), (1.0, 1.0), kinds=("absolute", "velocity"))
    plan = resting_plan(query([0.7, 0.5], [], None), limits, 4)
    np.testing.assert_allclose(plan.actions, [[0.7, 0.0]] * 4)


def test_it_keeps_to_what_is_committed_and_to_the_rate_of_change() -> None:
    limits = Limits((-1.0, -1.0), (1.0, 1.0))
    plan = resting_plan(query([0.9, 0.9], [[0.8, 0.6]], (0.5, 0.25)), limits, 3)
    np.testing.assert_allclose(plan.actions, [[0.8, 0.6], [0.3, 0.35], [0.0, 0.1], [0.0, 0.0]], atol=1e-6)
