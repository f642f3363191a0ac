"""A planner of a user's: one class, two methods."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from wmplan.planning import Distribution, Elites, HardConstraint, Planner, PlannerConfig, RateLimit, SearchSpace


class RandomSearch(Planner):
    """Uniform candidates; the best of them is the nominal plan."""

    def propose(self, state: Distribution, space: SearchSpace, iteration: int) -> Tensor:
        shape = self.config.num_samples, len(space.low)
        uniform = torch.stack([torch.rand(shape, generator=one) for one in space.generators])  # (B, S, D)
        points = torch.lerp(space.low, space.high, uniform)
        points[:, 0] = state.mean
        return points

    def update(self, state: Distribution, elites: Elites, space: SearchSpace, iteration: int) -> Distribution:
        return Distribution(elites.points[:, 0], state.std)


def search(**settings: object) -> RandomSearch:
    config = PlannerConfig(num_samples=200, num_iterations=20, horizon=2, **settings)
    planner = RandomSearch(config, [-1.0, 0.0], [1.0, 0.5])
    planner.reset([3, 4])
    return planner


def cost(candidates: Tensor) -> Tensor:
    return (candidates - torch.tensor([0.4, 0.2])).square().sum((2, 3))


def test_it_finds_the_minimum_and_starts_the_next_plan_there() -> None:
    planner = search()
    first = planner.plan(cost, record=True)
    assert (first.cost < 0.05).all() and torch.equal(first.cost, cost(first.actions[:, None])[:, 0])
    every = torch.cat(first.diagnostics["candidate_costs"], dim=1)
    assert every.shape == (2, 4000) and torch.equal(first.cost, every.amin(1))
    second = planner.plan(cost, elapsed=0, record=True)
    assert torch.equal(second.diagnostics["candidates"][0][:, 0], first.actions)
    assert (second.diagnostics["effective_sample_size"] == 1).all()


@pytest.mark.parametrize("kind", ["free", "held", "spline-cubic"])
def test_what_every_planner_keeps_to_is_kept_for_it(kind: str) -> None:
    planner = search(parameterization=kind)
    wall = HardConstraint(lambda c: c[..., 0].amax(2) - 0.1)
    plan = planner.plan(cost, constraints=[wall, RateLimit(0.3, torch.zeros(2))], deadline_ms=1e4)
    assert plan.diagnostics["feasible"].all() and (plan.actions[..., 0] <= 0.1).all()
    assert (plan.actions.diff(dim=1, prepend=torch.zeros(2, 1, 2)).abs() <= 0.3 + 1e-6).all()
    lost = planner.plan(lambda c: cost(c) * math.nan, nominal=torch.full((2, 2, 2), 0.3))
    assert lost.diagnostics["all_non_finite"].all() and torch.equal(lost.actions, torch.full((2, 2, 2), 0.3))
