"""Costs of every size and type, and how candidates are ranked by them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from wmplan.planning import PLANNERS, HardConstraint, Plan, RateLimit, make_planner
from wmplan.planning.ranking import rank

FEW: dict[str, dict[str, int]] = {
    "cem": {"num_elites": 4},
    "icem": {"num_elites": 4},
    "mppi": {"num_elites": 0},
    "predictive_sampling": {},
    "gradient": {},
    "hybrid": {"num_elites": 4, "refine_iterations": 3, "num_refined": 2},
}
BY_RANK = ("cem", "icem", "predictive_sampling")  # they read no more of the costs than their order
WITHOUT_GRADIENT = (*BY_RANK, "mppi")


def plan(name: str, cost: Callable[[Tensor], Tensor], seeds: tuple[int, ...] = (0, 1), **arguments: object) -> Plan:
    planner = make_planner(
        name, [-1.0] * 2, [1.0] * 2, action_block=1, horizon=3, num_samples=20, num_iterations=4, **FEW[name]
    )
    planner.reset(seeds)
    return planner.plan(cost, **arguments)


def cost(candidates: Tensor) -> Tensor:
    """In steps of a thousandth, so that adding a large number to it in float64 rounds nothing away."""
    exact = (candidates - 0.3).square().sum((2, 3))
    return exact + (1000 * exact.detach()).round() / 1000 - exact.detach()


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize("constant", [1e8, -1e8, 1e11])
def test_a_constant_added_to_costs_in_float64_changes_no_plan(name: str, constant: float) -> None:
    without, added = plan(name, cost), plan(name, lambda c: cost(c).double() + constant)
    torch.testing.assert_close(added.actions, without.actions, atol=1e-3, rtol=0)
    assert added.cost.dtype == torch.float64
    torch.testing.assert_close(added.cost - constant, without.cost.double(), atol=2e-3, rtol=0)


@pytest.mark.parametrize("name", WITHOUT_GRADIENT)
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.uint8, torch.bool])
def test_costs_may_be_whole_numbers(name: str, dtype: torch.dtype) -> None:
    offset, levels = {torch.int64: (2**50, 1e4), torch.int32: (2**30, 1e4), torch.bool: (0, 0.05)}.get(dtype, (0, 9.0))

    def whole(candidates: Tensor) -> Tensor:
        return (levels * cost(candidates)).floor()

    expected, given = (
        plan(name, lambda c: whole(c).double()),
        plan(name, lambda c: (whole(c).to(torch.int64) + offset).to(dtype)),
    )
    if dtype == torch.bool:
        expected = plan(name, lambda c: (whole(c) > 0).float())
    torch.testing.assert_close(given.actions, expected.actions, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_costs_may_be_of_half_precision(name: str, dtype: torch.dtype) -> None:
    given, expected = plan(name, lambda c: cost(c).to(dtype)), plan(name, lambda c: cost(c).to(dtype).float())
    assert torch.equal(given.actions, expected.actions)
    assert given.cost.dtype == torch.float32


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize("exponent", [-140, -120, -60, 60, 115])
def test_the_scale_of_the_cost_changes_no_plan(name: str, exponent: int) -> None:
    """From numbers that are hardly above 0, whose squares vanish, to some whose squares and sums overflow."""

    def scaled(candidates: Tensor) -> Tensor:
        return 256 * cost(candidates) * 2.0**exponent

    usual, other = plan(name, lambda c: 256 * cost(c)), plan(name, scaled)
    assert torch.isfinite(other.actions).all()
    if exponent < -126:  # the cost itself has few digits left
        assert (cost(other.actions[:, None]) < 2 * cost(usual.actions[:, None]) + 0.1).all()
    elif name in BY_RANK:
        assert torch.equal(other.actions, usual.actions)
    else:
        torch.testing.assert_close(other.actions, usual.actions, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", PLANNERS)
def test_costs_from_one_end_of_the_range_to_the_other(name: str) -> None:
    largest = torch.finfo(torch.float32).max

    def extreme(candidates: Tensor) -> Tensor:
        costs = (candidates - 0.3).square().sum((2, 3))
        index = torch.arange(costs.shape[1])
        return torch.where(index % 5 == 1, largest, torch.where(index % 5 == 2, -largest + 0 * costs, costs))

    found = plan(name, extreme, record=True)
    for candidates in found.diagnostics["candidates"]:
        assert torch.isfinite(candidates).all()
    assert torch.isfinite(found.actions).all() and (found.cost == -largest).all()


NEIGHBOURS: dict[str, Callable[[Tensor], Tensor]] = {
    "infinite": lambda costs: torch.full_like(costs, math.inf),
    "nan": lambda costs: torch.where(costs > costs.median(), math.nan, costs),
    "huge": lambda costs: costs * 1e37,
    "tiny": lambda costs: costs * 1e-42,
    "equal": lambda costs: 0 * costs,
    "walled": lambda costs: costs + 1e9 * (costs > costs.median()),
}


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize("kind", NEIGHBOURS)
def test_a_plan_is_the_same_to_the_bit_beside_costs_of_any_kind(name: str, kind: str) -> None:
    def both(candidates: Tensor) -> Tensor:
        costs = (candidates - 0.3).square().sum((2, 3))
        return torch.cat([NEIGHBOURS[kind](costs[:1]), costs[1:]])

    together = plan(name, both, seeds=(5, 6), record=True)
    alone = plan(name, lambda c: (c - 0.3).square().sum((2, 3)), seeds=(6,), record=True)
    for one, two in zip(alone.diagnostics["candidates"], together.diagnostics["candidates"], strict=True):
        assert torch.equal(one[0], two[1])
    assert torch.equal(alone.actions[0], together.actions[1])
    assert torch.equal(alone.cost[0], together.cost[1])


def test_complex_costs_are_refused() -> None:
    with pytest.raises(ValueError, match="the cost must give real numbers, got complex ones"):
        plan("cem", lambda c: torch.complex(cost(c), cost(c)))


# ---------------------------------------------------------------------- hard constraints


numbers = st.one_of(
    st.sampled_from([-3e38, 0.0, 1e8, 1e8 + 8, 3e38, math.inf]), st.floats(-1e3, 1e3, width=32), st.floats(width=32)
).filter(lambda x: not math.isnan(x) and x != -math.inf)
violations = st.one_of(st.sampled_from([0.0, 0.0, 1e-30, 1e-3, 3e38, math.inf]), st.floats(0, 1e6, width=32))


@given(st.lists(st.tuples(numbers, violations), min_size=1, max_size=12))
def test_candidates_are_ranked_exactly(pairs: list[tuple[float, float]]) -> None:
    """Against Python's stable sort: by how much they are broken, those that are not by their cost."""
    costs, broken = torch.tensor([pairs]).unbind(2)
    keys, order = rank(costs, broken)
    exact = torch.stack([costs[0], broken[0]], 1).tolist()
    finite = [index for index, (one, _) in enumerate(exact) if math.isfinite(one)]
    expected = sorted(finite, key=lambda i: (exact[i][1], 0.0 if exact[i][1] else exact[i][0]))
    assert order[0].tolist()[: len(finite)] == expected
    assert (keys[0, 1:] >= keys[0, :-1]).all()
    for key, index in zip(keys[0].tolist(), order[0].tolist(), strict=True):
        assert math.isfinite(key) == all(map(math.isfinite, exact[index]))


@pytest.mark.parametrize("name", PLANNERS)
def test_the_least_broken_plan_is_found_beside_large_costs(name: str) -> None:
    """Where no candidate keeps the constraint; costs of 1e8 would round its small violations away."""

    def by_how_much(candidates: Tensor) -> Tensor:
        return 0.01 + 0.01 * candidates.square().mean((2, 3))

    found = plan(name, lambda c: 1e8 + 1e8 * c.sum((2, 3)), constraints=[HardConstraint(by_how_much)], record=True)
    every = torch.cat(found.diagnostics["candidates"], dim=1)
    assert (by_how_much(found.actions[:, None])[:, 0] <= by_how_much(every).amin(1)).all()
    assert not found.diagnostics["feasible"].any()


def test_the_nominal_plan_that_is_kept_without_a_finite_cost_keeps_to_the_rate_limit() -> None:
    nominal = torch.tensor([[[0.0, 0.0], [1.0, -1.0], [1.0, -1.0]]])
    found = plan(
        "cem",
        lambda c: c.sum((2, 3)) * math.nan,
        seeds=(0,),
        nominal=nominal,
        constraints=[RateLimit(0.25, torch.zeros(2))],
    )
    assert found.diagnostics["all_non_finite"].all()
    torch.testing.assert_close(found.actions, torch.tensor([[[0.0, 0.0], [0.25, -0.25], [0.5, -0.5]]]))
