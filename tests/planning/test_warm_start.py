"""What is carried from one plan to the next may be kept outside of the planner."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wmplan.planning import PLANNERS, WarmStart, environment_generators, make_planner

FEW = {"num_samples": 12, "num_iterations": 2, "horizon": 3}


def few(name: str, parameterization: str):
    more = {"num_elites": 4} if "num_elites" in PLANNERS[name][1].__dataclass_fields__ else {}
    if name == "hybrid":
        more |= {"num_refined": 2, "refine_iterations": 2}
    return make_planner(
        name, [-1.0] * 4, [1.0] * 4, action_block=2, parameterization=parameterization, knot_spacing=3, **FEW, **more
    )


def cost(candidates: Tensor) -> Tensor:
    return (candidates - 0.3).square().sum((2, 3))


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize("parameterization", ["free", "spline-linear"])
def test_a_warm_start_kept_outside_gives_the_same_plans(name: str, parameterization: str) -> None:
    own, lent = few(name, parameterization), few(name, parameterization)
    own.reset([3])
    generators = environment_generators([3])
    kept = WarmStart()
    for number, (steps, horizon) in enumerate([(0, 3), (2, 3), (5, 2), (1, 3)]):
        elapsed = steps if number else None
        expected = own.plan(cost, elapsed=elapsed, horizon=horizon)
        lent.warm_start = WarmStart(torch.rand(1, 3, 4), torch.rand(1, 4, 3, 4), 77)  # of another robot
        if number:
            lent.warm_start = kept.shifted(steps, 2).fitted(horizon, 2)
        found = lent.plan(cost, generators=generators, elapsed=0 if number else None, horizon=horizon)
        kept = lent.warm_start
        assert torch.equal(found.actions, expected.actions)
        assert kept.clock == own.warm_start.clock


def test_robots_are_stacked_and_taken_apart() -> None:
    parts = [WarmStart(torch.rand(1, 3, 4), torch.rand(1, 5, 3, 4), 7) for _ in range(3)]
    together = WarmStart.stacked(parts)
    assert together.clock == 7
    for index, part in enumerate(parts):
        row = together.row(index)
        assert row.actions is not None and part.actions is not None and torch.equal(row.actions, part.actions)
        assert row.elites is not None and part.elites is not None and torch.equal(row.elites, part.elites)
    with pytest.raises(ValueError, match="some of the robots"):
        WarmStart.stacked([parts[0], WarmStart()])
    assert WarmStart.stacked([WarmStart()] * 2) == WarmStart()
