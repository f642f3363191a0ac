"""The core that searches: what it tells the cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from wmplan.control import PlanningQuery
from wmplan.control.planning_core import make_core
from wmplan.models.base import ModelSpec, WorldModel

BLOCK, BOUND, HORIZON = 5, 0.1, 3


class RobotStepWorld(WorldModel):
    """A point on a line that every robot step moves; its place is read after any of them."""

    reads_robot_steps = True

    def __init__(self) -> None:
        super().__init__()
        line = (0.0,), (1.0,)
        self.spec = ModelSpec((8, 8), 1, BLOCK, (-BOUND,), (BOUND,), *line, (1,), 1, *line)

    def encode(self, frames: Any, proprio: Tensor | None = None) -> Tensor:
        raise AssertionError("queries come encoded")

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        return context[:, -1, None, None] + actions.sum(-1, keepdim=True).cumsum(2)

    def rollout_at(self, context: Tensor, actions: Tensor, past_actions: Tensor | None, steps: Any) -> Tensor:
        places = context[:, -1, None, None] + actions.flatten(2)[..., None].cumsum(2)
        return places[:, :, [step - 1 for step in steps]]


def query(committed: int) -> PlanningQuery:
    rows = np.full((committed, 1), BOUND / 2, np.float32)
    still = np.zeros(1, np.float32)
    return PlanningQuery(torch.zeros(1, 1), None, torch.ones(1), 0, rows, still, None, torch.Generator().manual_seed(0))


def plan(committed: int, executed: float, replan_every: int | None) -> np.ndarray:
    settings = {
        "planner": {"name": "icem", "num_samples": 64, "num_iterations": 6, "horizon": HORIZON},
        "objective": {"latent": {"weight": 1e-6, "executed": executed}},
        "schedule": {"replan_every": replan_every},
    }
    core = make_core(RobotStepWorld(), settings)
    return core.plan([query(committed), query(0)])[0].actions[:, 0]


@pytest.mark.parametrize(("committed", "replan_every", "executed"), [(0, 2, 2), (3, 2, 5), (0, None, 5), (4, 3, 7)])
def test_what_is_executed_before_the_next_plan_makes_all_the_way_it_can(
    committed: int, replan_every: int | None, executed: int
) -> None:
    """The end weighs next to nothing beside the prefix, and only the prefix goes to the goal as fast as it can."""
    actions = plan(committed, 1e9, replan_every)
    assert (actions[:committed] == np.float32(BOUND / 2)).all()
    assert (actions[committed:executed] > 0.9 * BOUND).all()
    assert (actions[executed:] < 0.9 * BOUND).any()
