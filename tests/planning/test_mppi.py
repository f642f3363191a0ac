"""MPPI against its closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from wmplan.planning import MPPI, MPPIConfig
from wmplan.planning.mppi import path_weights


def up_to_the_first_gap(costs: np.ndarray) -> np.ndarray:
    """The costs that lie together, in float64 and one by one.

    Those that are lower than a cost ten times as far above the lowest as they are on average, or a greater number of
    times where they are few, are no measure of it.
    """
    ascending = np.sort(costs)
    rounding = 4 * np.finfo(np.float32).eps * abs(ascending[0])
    excess = ascending - ascending[0]
    for index in range(1, len(excess)):
        between = excess[:index][excess[:index] > rounding]
        if len(between):
            times = excess[index] / (excess[:index].sum() / len(between))
            limit = max(10.0, 1e-8 ** (-1 / len(between)))
            assume(abs(times / limit - 1) > 1e-4)  # else rounding decides
            if times > limit:
                return ascending[:index]
    return ascending


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=30), st.floats(0.1, 100.0))
def test_weights_are_the_closed_form(costs: list[float], temperature: float) -> None:
    exact = np.array(costs, dtype=np.float64)
    weights = np.exp(-(exact - exact.min()) / temperature)
    given = path_weights(torch.tensor([costs]), temperature, standardise=False)[0]
    np.testing.assert_allclose(given, weights / weights.sum(), atol=1e-5)
    deviation = up_to_the_first_gap(exact).std()
    if deviation > max(1e-3 * np.abs(exact).max(), 1e-30):
        weights = np.exp(-(exact - exact.min()) / deviation / temperature)
        given = path_weights(torch.tensor([costs]), temperature, standardise=True)[0]
        np.testing.assert_allclose(given, weights / weights.sum(), atol=1e-4)


@pytest.mark.parametrize("count", [64, 512])
def test_usual_costs_have_no_gap(count: int) -> None:
    """Then their plain standard deviation is the measure. Exponential ones have a gap now and then."""
    rng = np.random.default_rng(0)
    for costs in (
        rng.random((200, count)),
        rng.normal(size=(200, count)),
        rng.exponential(size=(200, count)),
        np.square(rng.normal(size=(200, count, 6))).sum(2),
        rng.integers(0, 3, size=(200, count)),
    ):
        weights = np.exp(-(costs - costs.min(1, keepdims=True)) / costs.std(1, keepdims=True))
        given = path_weights(torch.from_numpy(costs).float(), 1.0, standardise=True)
        close = np.isclose(given, weights / weights.sum(1, keepdims=True), atol=1e-4).all(1)
        assert close.mean() > 0.95


@given(
    st.lists(st.floats(0.0, 1.0, width=32), min_size=5, max_size=40, unique=True),
    st.integers(1, 100),
    st.sampled_from([1e4, 1e6, 1e15, 1e30, 3e38]),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_penalties_however_high_and_many_do_not_flatten_the_other_costs(
    costs, many: int, penalty: float, dtype
) -> None:
    free = torch.tensor([costs], dtype=dtype)
    assume(len(up_to_the_first_gap(free[0].double().numpy())) == len(costs))
    assume(free[0].sort().values[1:5].diff().amin() > 1e-3)
    collided = torch.full((1, many), penalty, dtype=dtype) + torch.rand(1, many)
    mixed = torch.randperm(len(costs) + many, generator=torch.Generator().manual_seed(many))
    weights = path_weights(torch.cat([free, collided], dim=1)[:, mixed], 0.5, standardise=True)[:, mixed.argsort()]
    torch.testing.assert_close(weights[:, : len(costs)], path_weights(free, 0.5, standardise=True))
    assert weights[:, len(costs) :].amax() < 1e-6


@pytest.mark.parametrize("standardise", [False, True])
def test_weights_do_not_depend_on_what_is_added_to_all_costs(standardise: bool) -> None:
    costs = torch.randint(0, 2**20, (3, 40), generator=torch.Generator().manual_seed(0)) / 2**20
    costs = torch.cat([costs, torch.tensor([[0.0, 1e6], [1e6, 1e6], [1e6, 2e6]])], dim=1).double()
    for constant in (-1e8, 2.0**20, 1e8):  # what is added exactly, in float64
        torch.testing.assert_close(
            path_weights(costs + constant, 0.5, standardise), path_weights(costs, 0.5, standardise), atol=1e-6, rtol=0
        )


@given(st.integers(-149, 126))
def test_standardised_weights_do_not_depend_on_the_scale_however_far_it_goes(exponent: int) -> None:
    costs = torch.tensor([[0.0, 1.0, 1.0, 3.0, 2.0], [-1.0, 1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 2.0, 3.0, 3.0]])
    scaled = (costs.double() * 2.0**exponent).float()
    torch.testing.assert_close(path_weights(scaled, 0.5, True), path_weights(costs, 0.5, True))


def test_costs_at_both_ends_of_the_range_of_floats() -> None:
    for dtype in (torch.float32, torch.float64):
        largest = torch.finfo(dtype).max
        costs = torch.tensor([[-largest, largest, 0.0, largest], [largest] * 4, [-largest] * 4], dtype=dtype)
        for standardise in (False, True):
            weights = path_weights(costs, 0.5, standardise)
            torch.testing.assert_close(weights.sum(1), torch.ones(3, dtype=dtype))
            assert (weights[0, 0] > weights[0, 1:]).all()
            torch.testing.assert_close(weights[1:], torch.full((2, 4), 0.25, dtype=dtype))


def test_weights_are_the_same_to_the_bit_beside_costs_of_any_kind() -> None:
    usual = torch.rand(1, 64, generator=torch.Generator().manual_seed(1))
    inf = torch.full((1, 64), torch.inf)
    for other in (
        usual + 1e6 * (usual > 0.5),
        inf,
        torch.where(usual > 0.5, usual, torch.inf),
        1e37 * usual,
        0 * usual,
    ):
        together = path_weights(torch.cat([other, usual]), 0.5, standardise=True)
        assert torch.equal(together[1:], path_weights(usual, 0.5, standardise=True))
        assert torch.equal(together[:1], path_weights(other, 0.5, standardise=True))


@pytest.mark.parametrize("num_elites", [0, 64])
@pytest.mark.parametrize(("side", "wall"), [(1, 0.4), (1, 0.31), (-1, 0.2)])
def test_a_wall_beside_the_optimum_is_no_hindrance(num_elites: int, side: int, wall: float) -> None:
    """A collision costs 1e6; from a third up to nearly all of the first candidates collide."""
    goal = torch.tensor([0.3, -0.5])

    def free(candidates: Tensor) -> Tensor:
        return (candidates - goal).square().sum((2, 3))

    def walled(candidates: Tensor) -> Tensor:
        return free(candidates) + 1e6 * (side * (candidates[:, :, 0, 0] - wall) > 0)

    config = MPPIConfig(num_samples=256, num_iterations=6, horizon=6, num_elites=num_elites)
    found = []
    for cost in (free, walled):
        planner = MPPI(config, [-1.0, -1.0], [1.0, 1.0])
        planner.reset(range(10))
        found.append(free(planner.plan(cost).actions[:, None]).median().item())
    assert found[1] < 3 * found[0] + 0.03  # standing still costs 2.04


def test_candidates_without_a_finite_cost_weigh_nothing() -> None:
    costs = torch.tensor([[1.0, torch.inf, 2.0], [torch.inf, torch.inf, torch.inf]])
    for standardise in (False, True):
        weights = path_weights(costs, 1.0, standardise)
        alone = path_weights(costs[:1, [0, 2]], 1.0, standardise)
        torch.testing.assert_close(weights[0, [0, 2]], alone[0])
        assert weights[0, 1] == 0 and weights[1].tolist() == [0, 0, 0]


def test_standardised_weights_do_not_depend_on_the_scale_of_the_cost() -> None:
    costs = torch.rand(1, 50)
    torch.testing.assert_close(
        path_weights(costs, 0.5, True), path_weights(1e4 * costs - 7.0, 0.5, True), atol=1e-4, rtol=1e-2
    )


def test_the_mean_tends_to_the_gaussian_tilted_by_a_linear_cost() -> None:
    """With cost a'u and noise N(0, s^2) the weighted mean is exactly -s^2 a / temperature."""
    slope = torch.tensor([0.4, -0.2, 0.1])
    config = MPPIConfig(
        num_samples=200_000,
        num_elites=0,
        num_iterations=1,
        horizon=1,
        init_std=0.05,
        min_std=0.0,
        temperature=0.5,
        standardise=False,
    )
    planner = MPPI(config, [-10.0] * 3, [10.0] * 3)  # a deviation of 0.5
    planner.reset([0])
    plan = planner.plan(lambda c: (c[:, :, 0] * slope).sum(2), record=True)
    candidates, costs = plan.diagnostics["candidates"][0][0, :, 0], plan.diagnostics["candidate_costs"][0]
    weights = path_weights(costs, 0.5, standardise=False)[0]
    torch.testing.assert_close(weights @ candidates, -0.25 * slope / 0.5, atol=6e-3, rtol=0)
    assert plan.diagnostics["effective_sample_size"].item() == pytest.approx(
        1 / weights.square().sum().item(), rel=1e-3
    )


def test_the_clipped_candidates_are_weighed() -> None:
    config = MPPIConfig(
        num_samples=64, num_elites=0, num_iterations=2, horizon=2, init_std=5.0, standardise=False, temperature=1e6
    )
    planner = MPPI(config, [-1.0, 0.0], [1.0, 0.5])
    planner.reset([0])
    candidates = planner.plan(lambda c: c.sum((2, 3)), record=True).diagnostics["candidates"]
    torch.testing.assert_close(candidates[1][0, 0], candidates[0][0].mean(0), atol=1e-4, rtol=0)  # equal weights
