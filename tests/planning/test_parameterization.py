"""What is searched, against independent interpolation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline
from torch import Tensor

from wmplan.planning import make_planner
from wmplan.planning.config import PARAMETERIZATIONS
from wmplan.planning.parameterization import Parameterization


@given(
    st.sampled_from(PARAMETERIZATIONS),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(0, 30),
)
def test_points_come_back_where_there_are_no_more_than_robot_steps(kind, horizon, block, dim, spacing, start) -> None:
    space = Parameterization(kind, horizon, block, dim, spacing, start)
    points = torch.randn(2, 3, space.num_knots * dim, generator=torch.Generator().manual_seed(0))
    actions = space.actions(points)
    assert actions.shape == (2, 3, horizon, block * dim)
    again = space.actions(space.points(actions))
    torch.testing.assert_close(again, actions, atol=1e-4, rtol=1e-4)  # what can be represented is kept


def test_free_and_held() -> None:
    free = Parameterization("free", 2, 3, 2)
    points = torch.arange(12.0)[None]
    assert torch.equal(free.actions(points), torch.arange(12.0).view(1, 2, 6))
    held = Parameterization("held", 2, 3, 2)
    assert torch.equal(
        held.actions(torch.tensor([[1.0, 2.0, 3.0, 4.0]])), torch.tensor([[[1.0, 2.0] * 3, [3.0, 4.0] * 3]])
    )
    torch.testing.assert_close(held.points(free.actions(points)), torch.tensor([[2.0, 3.0, 8.0, 9.0]]))  # means


@pytest.mark.parametrize("start", [0, 2, 7])
def test_splines_at_absolute_times(start: int) -> None:
    spacing, steps = 3, 8
    times = np.arange(steps) + start
    first = start // spacing * spacing
    for kind in ("zero", "linear", "cubic"):
        space = Parameterization(f"spline-{kind}", 4, 2, 1, spacing, start)
        knots = np.random.default_rng(0).normal(size=space.num_knots)
        at = first + spacing * np.arange(space.num_knots)
        expected = {
            "zero": knots[(times - first) // spacing],
            "linear": np.interp(times, at, knots),
            "cubic": CubicSpline(at, knots, bc_type="natural")(times),
        }[kind]
        given = space.actions(torch.from_numpy(knots).float()).reshape(-1)
        np.testing.assert_allclose(given, expected, atol=1e-5)
        assert at[-1] >= times[-1] or kind == "zero"  # never extrapolated


def test_a_shifted_plan_stays_on_its_knots() -> None:
    """When time passes by less than a knot's spacing, the next search starts from exactly the old plan."""
    settings = {"parameterization": "spline-zero", "knot_spacing": 4, "horizon": 6}
    planner = make_planner("icem", [-1.0] * 4, [1.0] * 4, action_block=2, num_samples=30, **settings)
    planner.reset([0])

    def cost(candidates: Tensor) -> Tensor:
        return (candidates - torch.linspace(-0.5, 0.5, 6)[:, None]).square().sum((2, 3))

    old = planner.plan(cost).actions
    for _ in range(3):
        plan = planner.plan(cost, elapsed=3, record=True)
        started = plan.diagnostics["candidates"][0][:, 0].view(12, 2)
        torch.testing.assert_close(started[:9], old.view(12, 2)[3:], atol=1e-5, rtol=0)
        old = plan.actions


def test_a_parameterised_search_finds_what_it_can_represent() -> None:
    target = torch.tensor([0.4, -0.3]).repeat(2)
    for kind in PARAMETERIZATIONS:
        planner = make_planner(
            "cem", [-1.0] * 4, [1.0] * 4, action_block=2, horizon=3, parameterization=kind, knot_spacing=3
        )
        planner.reset([0])
        plan = planner.plan(lambda c: (c - target).square().sum((2, 3)))
        torch.testing.assert_close(plan.actions, target.expand(1, 3, 4), atol=0.03, rtol=0)
