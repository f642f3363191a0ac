"""MPPI against its closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wmplan.planning import MPPI, MPPIConfig
from wmplan.planning.mppi import path_weights


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=30), st.floats(0.1, 100.0))
def test_weights_are_the_closed_form(costs: list[float], temperature: float) -> None:
    exact = np.array(costs, dtype=np.float64)
    weights = np.exp(-(exact - exact.min()) / temperature)
    given = path_weights(torch.tensor([costs]), temperature, standardise=False)[0]
    np.testing.assert_allclose(given, weights / weights.sum(), atol=1e-5)
    deviation = exact.std()
    if deviation > max(1e-3 * np.abs(exact).max(), 1e-30):
        weights = np.exp(-(exact - exact.min()) / deviation / temperature)
        given = path_weights(torch.tensor([costs]), temperature, standardise=True)[0]
        np.testing.assert_allclose(given, weights / weights.sum(), atol=1e-4)


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
