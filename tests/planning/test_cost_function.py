"""Costs that know of more than functions do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wmplan.planning import PLANNERS, Cost, Evaluation, HardConstraint, make_planner
from wmplan.planning.cost_function import as_cost


def distance(candidates: Tensor) -> Tensor:
    return (candidates - 0.4).square().sum((2, 3))


def wall(candidates: Tensor) -> Tensor:
    return candidates.sum((2, 3)) - 0.5


class Walled:
    """A distance that knows of a wall, and is told whether its gradient is read."""

    def __init__(self) -> None:
        self.differentiable: set[bool] = set()

    def evaluate(self, candidates: Tensor, differentiable: bool = False) -> Evaluation:
        self.differentiable.add(differentiable)
        assert differentiable == torch.is_grad_enabled()
        return Evaluation(distance(candidates), wall(candidates))


@pytest.mark.parametrize("name", PLANNERS)
def test_a_constraint_that_the_cost_knows_of_is_as_one_given_to_plan(name: str) -> None:
    plans, own = [], Walled()
    for cost, constraints in ((own, []), (distance, [HardConstraint(wall)])):
        few = {"num_samples": 64, "num_iterations": 4, "horizon": 2}
        if name == "cem":
            few["num_elites"] = 8
        planner = make_planner(name, [-1.0] * 2, [1.0] * 2, action_block=1, **few)
        planner.reset([0, 1])
        plans.append(planner.plan(cost, constraints=constraints))
    assert torch.equal(plans[0].actions, plans[1].actions)
    assert torch.equal(plans[0].diagnostics["feasible"], plans[1].diagnostics["feasible"])
    assert own.differentiable == {"gradient": {True, False}, "hybrid": {True, False}}.get(name, {False})


def test_a_function_is_a_cost_without_constraints() -> None:
    own, candidates = Walled(), torch.rand(1, 3, 2, 2)
    assert isinstance(own, Cost) and as_cost(own) is own and not isinstance(distance, Cost)
    costs, violation = as_cost(distance).evaluate(candidates)
    assert torch.equal(costs, distance(candidates)) and violation is None
