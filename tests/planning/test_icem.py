"""What iCEM adds to CEM."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wmplan.planning import ICEM, ICEMConfig, shift_plan


def towards(candidates: Tensor) -> Tensor:
    return (candidates - 0.3).square().sum((2, 3))


def test_the_population_decays_down_to_twice_the_elites() -> None:
    config = ICEMConfig(num_samples=100, num_elites=10, num_iterations=9, decay=1.5)
    planner = ICEM(config, [-1.0], [1.0])
    assert [planner.population(iteration) for iteration in range(9)] == [100, 66, 44, 29, 20, 20, 20, 20, 20]


def test_a_search_that_starts_from_nothing_begins_wide_and_the_next_does_not() -> None:
    config = ICEMConfig(num_samples=20, num_elites=5, num_iterations=5, cold_start_samples=100, final_mean=False)
    planner = ICEM(config, [-1.0], [1.0])
    planner.reset([0])
    cold, warm = (planner.plan(towards, elapsed=elapsed, record=True).diagnostics for elapsed in (None, 1))
    assert [one.shape[1] for one in cold["candidates"]] == [100, 50, 25, 12, 10]
    assert [one.shape[1] for one in warm["candidates"]] == [20, 16, 12, 10, 10]


def test_robots_without_a_plan_before_them_begin_wide_though_the_planner_has_one_of_others() -> None:
    config = ICEMConfig(num_samples=20, num_elites=5, num_iterations=1, cold_start_samples=100, final_mean=False)
    planner = ICEM(config, [-1.0], [1.0])
    planner.plan(towards, generators=[torch.Generator() for _ in range(2)])
    told = planner.plan(towards, generators=[torch.Generator() for _ in range(3)], elapsed=1, record=True)
    assert told.diagnostics["candidates"][0].shape[:2] == (3, 100)


def test_a_deadline_knows_that_later_iterations_are_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 0.2 ms a candidate, 300 ms hold 800, 400 and 200 candidates, and 100 more would end after 300."""
    now = [0.0]
    monkeypatch.setattr("wmplan.planning.search_clock.time.perf_counter", lambda: now[0])

    def slow(candidates: Tensor) -> Tensor:
        now[0] += 2e-4 * candidates.shape[1]
        return towards(candidates)

    config = ICEMConfig(num_samples=50, num_elites=5, num_iterations=8, cold_start_samples=800, final_mean=False)
    diagnostics = ICEM(config, [-1.0], [1.0]).plan(slow, deadline_ms=300).diagnostics
    assert diagnostics["iterations"] == 4 and diagnostics["overrun_ms"] == 0


def test_a_wide_start_finds_the_way_that_a_narrow_one_misses() -> None:
    """A broad slope leads to -0.5, and the least cost is in a dent of a thousandth of the volume elsewhere."""

    def trap(candidates: Tensor) -> Tensor:
        flat = candidates.flatten(2)
        dent = (flat - 0.6).square().sum(-1).div(0.1).neg().exp()
        return (flat + 0.5).square().sum(-1) - 20 * dent

    found = {}
    for cold in (1, 2000):
        config = ICEMConfig(num_samples=40, num_elites=5, num_iterations=8, horizon=4, cold_start_samples=cold)
        planner = ICEM(config, [-1.0], [1.0])
        planner.reset(list(range(20)))
        found[cold] = int((planner.plan(trap).cost < -5).sum())
    assert found[1] <= 5 and found[2000] >= 15


def test_elites_stay_with_their_costs_and_come_shifted_into_the_next_plan() -> None:
    config = ICEMConfig(num_samples=30, num_elites=10, keep_fraction=0.3, num_iterations=2, horizon=3, final_mean=False)
    planner = ICEM(config, [-1.0] * 4, [1.0] * 4, action_block=2)
    planner.reset([0, 1])
    told = planner.plan(towards, record=True).diagnostics
    first = planner.plan(towards, elapsed=3, record=True).diagnostics["candidates"][0]
    # The best of all candidates of the first plan, in order, since the kept ones compete with their costs.
    every, costs = torch.cat(told["candidates"], dim=1), torch.cat(told["candidate_costs"], dim=1)
    for index in range(2):
        best = every[index, costs[index].argsort()]
        assert torch.equal(first[index, 0], shift_plan(best[:1], 3, 2)[0])  # the nominal plan
        shared = [
            candidate
            for candidate in shift_plan(best[:10], 3, 2)
            if (first[index, 1:11] == candidate).all((1, 2)).any()
        ]
        assert len(shared) == 10


def test_momentum_keeps_a_part_of_the_old_mean() -> None:
    means = {}
    for momentum in (0.0, 0.25):
        config = ICEMConfig(num_samples=50, num_iterations=2, horizon=2, momentum=momentum, keep_fraction=0.0)
        planner = ICEM(config, [-1.0], [1.0])
        planner.reset([5])
        nominal = torch.full((1, 2, 1), -0.8)
        means[momentum] = planner.plan(towards, nominal=nominal, record=True).diagnostics["candidates"][1][0, 0]
    torch.testing.assert_close(means[0.25], 0.75 * means[0.0] + 0.25 * -0.8)
