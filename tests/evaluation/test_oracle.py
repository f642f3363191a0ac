"""The oracle's cost is what happens when the candidates are really executed."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from wmplan.planning import OracleCost, make_planner


@pytest.fixture(scope="module")
def environments():
    made = [gymnasium.make("wmplan.envs:wmplan/PushT-v0") for _ in range(2)]
    for seed, environment in enumerate(made):
        environment.reset(seed=seed)
    yield made
    for environment in made:
        environment.close()


@pytest.mark.parametrize("by_block", [False, True])
@pytest.mark.parametrize("steps", ["last", "sum", "min"])
def test_costs_equal_executing_the_candidates(environments, steps: str, by_block: bool) -> None:
    candidates = (
        torch.rand(2, 3, 2, 10, generator=torch.Generator().manual_seed(0)) - 0.5
    ) * 0.4  # five robot steps a block
    states = [environment.unwrapped.get_state() for environment in environments]
    given = OracleCost(environments, steps, by_block=by_block)(candidates)
    for index, environment in enumerate(environments):
        plain = environment.unwrapped
        assert np.array_equal(plain.get_state(), states[index])  # left as it was
        for sample in range(3):
            plain.set_state(states[index])
            distances = []
            for action in candidates[index, sample].view(10, 2).numpy():
                plain.step_physics(action)
                distances.append(float(plain.task.distance(plain.task_state(), plain.goal)))
            plain.set_state(states[index])
            if by_block:
                distances = distances[4::5]
            expected = {"last": distances[-1], "sum": sum(distances), "min": min(distances)}[steps]
            assert given[index, sample].item() == pytest.approx(expected, rel=1e-4)


def test_planners_plan_with_it_and_get_nearer(environments) -> None:
    cost = OracleCost(environments)
    planner = make_planner("icem", [-0.2] * 10, [0.2] * 10, action_block=5, num_samples=16, num_elites=4, horizon=2)
    planner.reset([0, 1])
    plan = planner.plan(cost)
    assert (plan.cost < cost(torch.zeros(2, 1, 2, 10))[:, 0]).all()


def test_mistakes_are_named(environments) -> None:
    with pytest.raises(ValueError, match="candidates are for 1 environments"):
        OracleCost(environments)(torch.zeros(1, 1, 1, 10))
    with pytest.raises(ValueError, match="there are 1 goals for 2"):
        OracleCost(environments, goals=[np.zeros(5)])
    with pytest.raises(ValueError, match="steps must be one of last, sum, min, discounted, got 'best'"):
        OracleCost(environments, "best")
