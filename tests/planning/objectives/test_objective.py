"""Plain functions as objectives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from wmplan.planning import LatentDistance, Objective, SwitchByDistance, WeightedSum
from wmplan.planning.objectives.objective import as_objective

PREDICTED, GOAL, ACTIONS = torch.rand(2, 3, 4, 5), torch.rand(2, 5), torch.rand(2, 3, 4, 6)


def summed(predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
    return (predicted - goal[:, None, None]).square().sum((2, 3))


class Ending:
    """Reads the end alone, and less of it the farther it started."""

    last_only = True

    def __init__(self, weight: Any = 1.0) -> None:
        self.weight = weight

    def for_start(self, current: Tensor, goal: Tensor) -> Ending:
        return Ending(1 / (current - goal).square().sum(1, keepdim=True))

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        return self.weight * (predicted[:, :, -1] - goal[:, None]).square().sum(2)


def test_a_function_reads_every_step_and_starts_anywhere() -> None:
    objective = as_objective(summed)
    assert isinstance(objective, Objective) and not objective.last_only
    assert torch.equal(objective.for_start(GOAL, GOAL)(PREDICTED, GOAL, ACTIONS), summed(PREDICTED, GOAL, ACTIONS))


def test_what_an_object_says_of_itself_is_heeded() -> None:
    objective = as_objective(Ending())
    assert objective.last_only
    begun = objective.for_start(GOAL + 1, GOAL)
    assert isinstance(begun, Objective) and begun.last_only
    torch.testing.assert_close(begun(PREDICTED, GOAL, ACTIONS), objective(PREDICTED, GOAL, ACTIONS) / 5)


@pytest.mark.parametrize(("part", "last_only"), [(summed, False), (Ending(), True)])
def test_combinations_take_functions(part: Any, last_only: bool) -> None:
    both = WeightedSum([(2.0, part), (1.0, LatentDistance())])
    assert both.last_only == last_only
    expected = 2 * part(PREDICTED, GOAL, ACTIONS) + LatentDistance()(PREDICTED, GOAL, ACTIONS)
    torch.testing.assert_close(both(PREDICTED, GOAL, ACTIONS), expected)
    switch = SwitchByDistance(part, part, 1.0, LatentDistance())
    assert switch.last_only == last_only
    found = switch.for_start(GOAL + 3.0, GOAL)(PREDICTED, GOAL, ACTIONS)
    torch.testing.assert_close(found, as_objective(part).for_start(GOAL + 3.0, GOAL)(PREDICTED, GOAL, ACTIONS))


def test_an_objective_has_to_say_what_it_costs() -> None:
    class Nothing(Objective):
        pass

    assert LatentDistance().for_start(GOAL, GOAL) == LatentDistance()
    with pytest.raises(TypeError, match="__call__"):
        Nothing()
