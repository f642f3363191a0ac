"""What is searched, against independent interpolation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from wmplan.planning import PLANNERS, RateLimit, WarmStart, make_planner
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


def hermite(time: float, at: np.ndarray, knots: np.ndarray) -> float:
    """The cubic between two knots with their values, and with the slopes between the knots beside them."""
    left = int(np.searchsorted(at, time, side="right")) - 1
    if at[left] == time:
        return float(knots[left])
    spacing = at[1] - at[0]
    slopes = (knots[left + 1] - knots[left - 1]) / 2, (knots[left + 2] - knots[left]) / 2  # a spacing
    rows = [[0, 0, 0, 1], [1, 1, 1, 1], [0, 0, 1, 0], [3, 2, 1, 0]]  # values and slopes at 0 and 1
    return float(np.polyval(np.linalg.solve(rows, [*knots[left : left + 2], *slopes]), (time - at[left]) / spacing))


@pytest.mark.parametrize("start", [0, 2, 7])
def test_splines_at_absolute_times(start: int) -> None:
    spacing, steps = 3, 8
    times = np.arange(steps) + start
    first = start // spacing * spacing
    for kind in ("zero", "linear", "cubic"):
        space = Parameterization(f"spline-{kind}", 4, 2, 1, spacing, start)
        knots = np.random.default_rng(0).normal(size=space.num_knots)
        at = first + spacing * np.arange(space.num_knots)
        if kind == "zero":
            expected = knots[(times - first) // spacing]
        elif kind == "linear":
            expected = np.interp(times, at, knots)
        else:
            at = at - spacing  # one more, before the plan
            expected = np.array([hermite(time, at, knots) for time in times])
        given = space.actions(torch.from_numpy(knots).float()).reshape(-1)
        np.testing.assert_allclose(given, expected, atol=1e-5)
        assert at[-1] >= times[-1] or kind == "zero"  # never extrapolated


SPLINES = [kind for kind in PARAMETERIZATIONS if kind.startswith("spline")]


@given(
    st.sampled_from(SPLINES),
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(1, 7),
    st.integers(0, 20),
    st.lists(st.integers(0, 12), min_size=1, max_size=4),
)
def test_a_shifted_plan_is_represented_exactly(kind, horizon, block, spacing, start, shifts) -> None:
    """However often and however far it is shifted: but for the tail, which has to hold the last action, about."""
    generator = torch.Generator().manual_seed(0)
    space = Parameterization(kind, horizon, block, 2, spacing, start)
    plan = space.actions(2 * torch.rand(3, space.num_knots * 2, generator=generator) - 1)
    warm, passed = WarmStart(plan, clock=start), 0
    for steps in shifts:
        warm, passed = warm.shifted(steps, 2), passed + steps
        assert warm.actions is not None
        space = Parameterization(kind, horizon, block, 2, spacing, warm.clock)
        again = space.actions(space.points(warm.actions))
        kept = max(horizon * block - passed, 0)
        flat = again.view(3, -1, 2)
        torch.testing.assert_close(flat[:, :kept], plan.view(3, -1, 2)[:, passed:], atol=1e-3, rtol=0)
        warm = WarmStart(again, clock=warm.clock)


@pytest.mark.parametrize("kind", SPLINES)
def test_the_steps_after_what_was_planned_hold_the_last_action_as_far_as_knots_let_them(kind: str) -> None:
    space = Parameterization(kind, 6, 2, 1, 2)
    plan = space.actions(2 * torch.rand(1, space.num_knots, generator=torch.Generator().manual_seed(1)) - 1)
    held = WarmStart(plan).shifted(8, 1).actions
    assert held is not None
    again = space.actions(space.points(held)).flatten()
    torch.testing.assert_close(again[8:], held.flatten()[8:], atol=0.1, rtol=0)


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize("kind", SPLINES)
@pytest.mark.parametrize("limited", [False, True])
def test_the_next_search_starts_from_exactly_the_old_plan(name: str, kind: str, limited: bool) -> None:
    """Whatever bounds and a rate limit cut off the spline, and for the elites that are carried, too."""
    settings = {"parameterization": kind, "knot_spacing": 4, "horizon": 6, "num_samples": 64, "num_iterations": 3}
    if name == "hybrid":
        settings |= {"refine_iterations": 2}
    planner = make_planner(name, [-1.0] * 4, [1.0] * 4, action_block=2, **settings)
    planner.reset([0, 1])
    last = torch.zeros(2, 2)

    def cost(candidates: Tensor) -> Tensor:  # from corner to corner, so that cubics overshoot
        wanted = torch.tensor([-1.0, -1.0, 1.0, 1.0, -0.9, 1.0]).repeat_interleave(2)[:, None]
        return (candidates.view(*candidates.shape[:2], 12, 2) - wanted).square().sum((2, 3))

    def limits() -> list[RateLimit]:
        return [RateLimit(0.6, last)] if limited else []

    old = planner.plan(cost, constraints=limits()).actions.view(2, 12, 2)
    for steps in (3, 1, 4, 2, 5):
        last = old[:, steps - 1]
        plan = planner.plan(cost, elapsed=steps, constraints=limits(), record=True)
        started = plan.diagnostics["candidates"][0][:, 0].reshape(2, 12, 2)
        torch.testing.assert_close(started[:, : 12 - steps], old[:, steps:], atol=1e-3, rtol=0)
        old = plan.actions.view(2, 12, 2)


def test_a_plan_is_the_same_to_the_bit_beside_plans_that_hold_their_last_action_longer() -> None:
    space = Parameterization("spline-cubic", 6, 3, 2, 4, 3)
    plans = torch.rand(5, 6, 6, generator=torch.Generator().manual_seed(0))
    plans[1, 3:] = 0.5
    plans[3] = 0.25
    for row, points in enumerate(space.points(plans)):
        assert torch.equal(points, space.points(plans[row : row + 1])[0])


def test_a_parameterised_search_finds_what_it_can_represent() -> None:
    target = torch.tensor([0.4, -0.3]).repeat(2)
    for kind in PARAMETERIZATIONS:
        planner = make_planner(
            "cem", [-1.0] * 4, [1.0] * 4, action_block=2, horizon=3, parameterization=kind, knot_spacing=3
        )
        planner.reset([0])
        plan = planner.plan(lambda c: (c - target).square().sum((2, 3)))
        torch.testing.assert_close(plan.actions, target.expand(1, 3, 4), atol=0.03, rtol=0)
