"""What every planner promises, whatever it searches with."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wmplan.planning import (
    CEM,
    PLANNERS,
    CEMConfig,
    Cost,
    HardConstraint,
    Plan,
    SoftConstraint,
    make_planner,
    shift_plan,
)
from wmplan.planning.config import PARAMETERIZATIONS
from wmplan.planning.warm_start import fit_horizon

SAMPLERS = ("cem", "icem", "mppi", "predictive_sampling")
FEW = {
    "cem": {"num_samples": 20, "num_elites": 4, "num_iterations": 3},
    "icem": {"num_samples": 20, "num_elites": 4, "num_iterations": 3},
    "mppi": {"num_samples": 20, "num_elites": 8, "num_iterations": 3},
    "predictive_sampling": {"num_samples": 20, "num_iterations": 3},
    "gradient": {"num_samples": 3, "num_iterations": 4},
    "hybrid": {"num_samples": 20, "num_elites": 4, "num_iterations": 2, "refine_iterations": 3, "num_refined": 2},
}


def few(name: str, dim: int = 4, block: int = 2, bound: float = 0.5, **settings: object):
    return make_planner(
        name, [-bound] * dim, [bound] * dim, action_block=block, **{**FEW[name], "horizon": 3, **settings}
    )


def towards(target: Tensor) -> Cost:
    return lambda candidates: (candidates - target).square().sum((2, 3))


# ---------------------------------------------------------------------- properties


@st.composite
def searches(draw):
    block, dim = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    low = draw(st.lists(st.floats(-3, 3, width=32), min_size=dim, max_size=dim))
    widths = draw(st.lists(st.sampled_from([0.0, 0.25, 2.0]), min_size=dim, max_size=dim))
    name = draw(st.sampled_from(sorted(PLANNERS)))
    samples = draw(st.integers(1, 6))
    elites = draw(st.integers(1, samples))
    config = {
        **FEW[name],
        "num_samples": samples,
        "horizon": draw(st.integers(1, 3)),
        "num_iterations": draw(st.integers(1, 3)),
    }
    if "num_elites" in config:
        config["num_elites"] = elites
    if "num_refined" in config:
        config["num_refined"] = draw(st.integers(1, elites))
    config["parameterization"] = draw(st.sampled_from(PARAMETERIZATIONS))
    config["knot_spacing"] = draw(st.integers(1, 4))
    config["returns"] = draw(st.sampled_from(["best", "mean"]))
    spoil = draw(st.sampled_from(["none", "some", "all"]))
    value = draw(st.sampled_from([math.nan, math.inf, -math.inf]))
    return name, low, widths, block, draw(st.integers(1, 3)), config, spoil, value


@settings(max_examples=80)
@given(searches(), st.integers(0, 2**31))
def test_actions_are_finite_and_within_bounds_whatever_the_cost_says(search, seed: int) -> None:
    name, low, widths, block, batch, config, spoil, value = search
    low = torch.tensor(low * block)
    high = low + torch.tensor(widths * block)
    planner = make_planner(name, low, high, action_block=block, **config)
    planner.reset(range(seed, seed + batch))
    seen: list[Tensor] = []

    def cost(candidates: Tensor) -> Tensor:
        seen.append(candidates.detach())
        costs = candidates.square().sum((2, 3))
        if spoil == "all":
            return costs * 0 + value
        if spoil == "some":
            return torch.where(torch.arange(costs.shape[1]) % 2 == 0, value, costs)
        return costs

    for elapsed in (None, 1):
        plan = planner.plan(cost, elapsed=elapsed)
        assert plan.actions.shape == (batch, config["horizon"], len(low))
        assert torch.isfinite(plan.actions).all()
        assert (plan.actions >= low).all() and (plan.actions <= high).all()
        assert not torch.isnan(plan.cost).any()
        assert (plan.diagnostics["all_non_finite"] == torch.isinf(plan.cost)).all()
        assert plan.diagnostics["iterations"] == planner.num_iterations
    for candidates in seen:
        assert (candidates >= low).all() and (candidates <= high).all()
    assert (plan.diagnostics["non_finite"] > 0).all() or spoil == "none"
    assert plan.diagnostics["all_non_finite"].all() or spoil != "all"


@pytest.mark.parametrize("name", PLANNERS)
def test_the_best_candidate_ever_judged_is_returned(name: str) -> None:
    planner = few(name)
    planner.reset([3, 4])
    judged, values = [], []

    def cost(candidates: Tensor) -> Tensor:
        rough = (7 * candidates).sin().sum((2, 3)) + candidates.square().sum((2, 3))
        judged.append(candidates.detach().flatten(2)), values.append(rough.detach())
        return rough

    plan = planner.plan(cost)
    points, costs = torch.cat(judged, dim=1), torch.cat(values, dim=1)
    best = costs.argmin(1)
    assert torch.equal(plan.cost, costs.amin(1))
    assert torch.equal(plan.actions.flatten(1), points[torch.arange(2), best])


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize("kind", PARAMETERIZATIONS)
def test_a_plan_depends_on_its_own_seed_alone(name: str, kind: str) -> None:
    target = torch.linspace(-1, 1, 5)[:, None, None, None]  # another for each environment
    planner = few(name, parameterization=kind, knot_spacing=4)
    planner.reset([10, 11, 12, 13, 14])
    together = [planner.plan(towards(target), elapsed=elapsed) for elapsed in (None, 2, 3)]
    for index in (0, 3):
        planner.reset([10 + index])
        alone = [planner.plan(towards(target[index : index + 1]), elapsed=elapsed) for elapsed in (None, 2, 3)]
        for one, all_of_them in zip(alone, together, strict=True):
            assert torch.equal(one.actions[0], all_of_them.actions[index])
            assert torch.equal(one.cost[0], all_of_them.cost[index])


@pytest.mark.parametrize("name", PLANNERS)
def test_a_plan_is_the_same_to_the_bit_beside_one_whose_costs_are_mostly_not_finite(name: str) -> None:
    def cost(candidates: Tensor) -> Tensor:
        return (candidates - 0.3).square().sum((2, 3))

    def cost_of_both(candidates: Tensor) -> Tensor:
        costs = cost(candidates)
        costs[1, 2:] = math.inf
        return costs

    planner = few(name)
    for seed in range(5):
        planner.reset([seed])
        alone = planner.plan(cost, record=True)
        planner.reset([seed, 77])
        beside = planner.plan(cost_of_both, record=True)
        for one, both in zip(alone.diagnostics["candidates"], beside.diagnostics["candidates"], strict=True):
            assert torch.equal(one[0], both[0])
        assert torch.equal(alone.actions[0], beside.actions[0])


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_candidate_counts_where_no_cost_is_finite(name: str) -> None:
    planner = few(name)
    planner.reset([0, 1])
    lost = torch.tensor([[False], [True]])
    plan = planner.plan(lambda candidates: torch.where(lost, torch.nan, candidates.square().sum((2, 3))))
    size = plan.diagnostics["effective_sample_size"]
    assert (size[:, 1] == 0).all() and (size[:, 0] >= 1).all()


@pytest.mark.parametrize("name", PLANNERS)
def test_the_same_seed_gives_the_same_plan_and_the_global_generator_is_left_alone(name: str) -> None:
    state = torch.get_rng_state()
    planner = few(name)
    plans = []
    for seed in (0, 0, 1):
        planner.reset([seed])
        told = planner.plan(towards(torch.full((4,), 0.3)), record=True)
        plans.append(torch.cat([told.actions[:, None], *told.diagnostics["candidates"]], dim=1))
    assert torch.equal(plans[0], plans[1])
    assert not torch.equal(plans[0], plans[2])
    assert torch.equal(state, torch.get_rng_state())


# ---------------------------------------------------------------------- nominal plan


@pytest.mark.parametrize("name", PLANNERS)
def test_candidate_zero_is_the_clipped_nominal_plan(name: str) -> None:
    planner = few(name)
    planner.reset([0])
    nominal = torch.linspace(-1, 1, 12).view(1, 3, 4)
    plan = planner.plan(towards(torch.zeros(4)), nominal=nominal, record=True)
    assert torch.equal(plan.diagnostics["candidates"][0][0, 0], nominal[0].clamp(-0.5, 0.5))


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_nominal_plan_is_kept_where_no_cost_is_finite(name: str, value: float) -> None:
    planner = few(name)
    planner.reset([0, 1])
    nominal = torch.full((2, 3, 4), 0.2)
    good = torch.tensor([[True], [False]])

    def cost(candidates: Tensor) -> Tensor:
        return torch.where(good, (candidates - 0.4).square().sum((2, 3)), value)

    plan = planner.plan(cost, nominal=nominal)
    assert plan.diagnostics["all_non_finite"].tolist() == [False, True]
    assert torch.equal(plan.actions[1], nominal[1])
    assert not torch.equal(plan.actions[0], nominal[0])
    assert plan.cost[1] == math.inf and torch.isfinite(plan.cost[0])
    assert plan.diagnostics["non_finite"][0] == 0 < plan.diagnostics["non_finite"][1]


def test_a_flat_cost_keeps_the_nominal_plan() -> None:
    for name in PLANNERS:
        planner = few(name)
        planner.reset([0])
        nominal = torch.full((1, 3, 4), 0.1)
        assert torch.equal(planner.plan(lambda c: 0.0 * c.sum((2, 3)), nominal=nominal).actions, nominal)


def test_the_plan_before_is_shifted_by_the_robot_steps_that_passed() -> None:
    planner = few("cem")
    planner.reset([0])
    first = planner.plan(towards(torch.full((4,), 0.3))).actions
    second = planner.plan(towards(torch.full((4,), 0.3)), elapsed=3, record=True)
    steps = first.view(6, 2)  # robot steps of two numbers
    expected = torch.cat([steps[3:], steps[-1:].expand(3, 2)]).view(3, 4)
    assert torch.equal(second.diagnostics["candidates"][0][0, 0], expected)
    third = planner.plan(towards(torch.full((4,), 0.3)), record=True)  # elapsed left out: from zeros
    assert torch.equal(third.diagnostics["candidates"][0][0, 0], torch.zeros(3, 4))


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(0, 20))
def test_shift_plan_against_a_loop(horizon: int, block: int, dim: int, steps: int) -> None:
    actions = torch.arange(2.0 * horizon * block * dim).view(2, horizon, block * dim)
    shifted = shift_plan(actions, steps, dim).view(2, horizon * block, dim)
    rows = actions.view(2, horizon * block, dim)
    for index in range(horizon * block):
        assert torch.equal(shifted[:, index], rows[:, min(index + steps, horizon * block - 1)])


def test_a_horizon_is_cut_or_its_last_robot_step_held() -> None:
    actions = torch.arange(12.0).view(1, 2, 6)  # blocks of three robot steps of two numbers
    assert torch.equal(fit_horizon(actions, 1, 2), actions[:, :1])
    longer = fit_horizon(actions, 4, 2)
    assert torch.equal(longer[:, :2], actions)
    assert torch.equal(longer[0, 2:].view(6, 2), torch.tensor([10.0, 11.0]).expand(6, 2))


def test_the_horizon_may_change_between_plans() -> None:
    for name in PLANNERS:
        planner = few(name)
        planner.reset([0])
        for horizon, elapsed in ((3, None), (2, 2), (4, 2), (1, 1)):
            assert planner.plan(towards(torch.zeros(4)), horizon=horizon, elapsed=elapsed).actions.shape == (
                1,
                horizon,
                4,
            )


# ---------------------------------------------------------------------- memory of its own


def both_plans(planner, cost: Cost, between=lambda plan: None, **options: object) -> list[Tensor]:
    """The actions of a plan and of the one after it, and what the second began with."""
    planner.reset([3, 4])
    nominal = torch.full((2, 3, 4), 0.1)
    first = planner.plan(cost, nominal=nominal, **options)
    actions = first.actions.clone()
    nominal.fill_(0.4)
    between(first)
    second = planner.plan(cost, elapsed=1, record=True, **options)
    return [actions, second.actions, *second.diagnostics["candidates"]]


@pytest.mark.parametrize("kind", PARAMETERIZATIONS)
@pytest.mark.parametrize("name", sorted(PLANNERS))
def test_a_plan_changed_by_its_caller_changes_no_search(name: str, kind: str) -> None:
    def scale(plan: Plan) -> None:
        for tensor in (plan.actions, plan.cost, *plan.diagnostics.values()):
            if isinstance(tensor, Tensor) and tensor.is_floating_point():
                tensor.mul_(100)
        for tensor in plan.diagnostics.get("candidates", []):
            tensor.mul_(100)

    cost = towards(torch.tensor([0.3, -0.2, 0.1, 0.4]))
    planner = few(name, parameterization=kind)
    expected = both_plans(planner, cost)
    for found, wanted in zip(both_plans(planner, cost, scale), expected, strict=True):
        assert torch.equal(found, wanted)


def test_bounds_changed_by_their_owner_change_no_planner() -> None:
    for low, high in ((torch.full((4,), -0.5), torch.full((4,), 0.5)), (np.full(4, -0.5, "f4"), np.full(4, 0.5, "f4"))):
        planner = make_planner("cem", low, high, action_block=2, **FEW["cem"])
        low[:], high[:] = 7.0, 8.0
        assert planner.low.tolist() == [-0.5] * 4 and planner.high.tolist() == [0.5] * 4


class Destructive:
    """A function of candidates that works in place, and leaves nothing of what it was given."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def __call__(self, candidates: Tensor) -> Tensor:
        given = candidates.clone()
        candidates.mul_(0).add_(9)
        return self.function(given)


@pytest.mark.parametrize("kind", ["free", "held", "spline-cubic"])
@pytest.mark.parametrize("name", sorted(PLANNERS))
def test_functions_may_write_into_the_candidates_they_are_given(name: str, kind: str) -> None:
    """Costs, soft and hard constraints: all see the candidates as they are, and so does the search."""
    cost = towards(torch.tensor([0.3, -0.2, 0.1, 0.4]))
    functions = [lambda a: a[..., 0].sum(2), lambda a: a[..., 1].abs().amax(2), lambda a: a[:, :, 0, 2] - 0.1]
    found = []
    for wrap in (lambda function: function, Destructive):
        soft, other, hard = map(wrap, functions)
        constraints = [SoftConstraint(soft, 0.1), HardConstraint(hard), SoftConstraint(other, 0.2)]
        found.append(both_plans(few(name, parameterization=kind), wrap(cost), constraints=constraints))
    for mine, wanted in zip(*found, strict=True):
        assert torch.equal(mine, wanted)


@pytest.mark.parametrize("name", sorted(set(PLANNERS) - {"gradient", "hybrid"}))
def test_a_cost_may_return_one_buffer_again_and_again(name: str) -> None:
    plain = towards(torch.tensor([0.3, -0.2, 0.1, 0.4]))
    buffers: dict[torch.Size, Tensor] = {}

    def cost(candidates: Tensor) -> Tensor:
        costs = plain(candidates)
        return buffers.setdefault(costs.shape, torch.empty_like(costs)).copy_(costs)

    for mine, wanted in zip(both_plans(few(name), cost), both_plans(few(name), plain), strict=True):
        assert torch.equal(mine, wanted)


# ---------------------------------------------------------------------- deadline, diagnostics


@pytest.mark.parametrize("name", PLANNERS)
def test_a_deadline_stops_the_search_with_the_best_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    planner = few(name, num_iterations=50) if name != "hybrid" else few(name, refine_iterations=50)

    def cost(candidates: Tensor) -> Tensor:
        clock[0] += 0.010  # every iteration takes 10 ms
        return candidates.square().sum((2, 3))

    planner.reset([0])
    nominal = torch.full((1, 3, 4), 0.4)
    plan = planner.plan(cost, nominal=nominal, deadline_ms=45, record=True)
    assert plan.diagnostics["iterations"] == 4  # a fifth would end after 50 ms
    assert plan.cost <= torch.cat(plan.diagnostics["candidate_costs"], dim=1).amin()
    plan = planner.plan(cost, nominal=nominal, deadline_ms=0)
    assert plan.diagnostics["iterations"] == 1
    assert plan.diagnostics["overrun_ms"] == pytest.approx(10.0)  # one iteration's time
    assert plan.diagnostics["iteration_ms"] == pytest.approx(10.0)
    assert plan.cost.isfinite().all()


def test_diagnostics() -> None:
    for name in PLANNERS:
        planner = few(name)
        planner.reset([0, 1])
        told = planner.plan(towards(torch.zeros(4)), record=True).diagnostics
        count = told["iterations"]
        assert len(told["candidates"]) == len(told["candidate_costs"]) == count
        for iteration in range(count):
            candidates, costs = told["candidates"][iteration], told["candidate_costs"][iteration]
            torch.testing.assert_close(costs, candidates.square().sum((2, 3)))
            assert torch.equal(told["cost_by_iteration"][iteration], costs.amin(1))
        assert told["effective_sample_size"].shape == (count, 2)
        assert (told["effective_sample_size"] >= 1).all() and (told["effective_sample_size"] <= 20).all()
        assert told["feasible"].all() and not told["all_non_finite"].any()
        assert 0 <= told["cost_ms"] <= told["plan_ms"]


def test_returns_mean_gives_the_final_nominal_plan() -> None:
    config = CEMConfig(
        num_samples=50, num_elites=10, num_iterations=2, horizon=2, min_std=0.0, returns="mean", carry_best=False
    )
    planner = CEM(config, [-1.0, -1.0], [1.0, 1.0])
    planner.reset([0])
    plan = planner.plan(towards(torch.tensor([0.3, -0.2])), record=True)
    candidates, costs = plan.diagnostics["candidates"][-1][0], plan.diagnostics["candidate_costs"][-1][0]
    torch.testing.assert_close(plan.actions[0], candidates[costs.argsort()[:10]].mean(0))


# ---------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (
            lambda p: p.plan(lambda c: c.sum(3)),
            r"the cost must give a tensor of shape \(B, S\) = \(1, 20\), got shape \(1, 20, 3\)",
        ),
        (lambda p: p.plan(lambda c: 0.0), r"the cost must give a tensor of shape \(B, S\) = \(1, 20\), got a float"),
        (
            lambda p: p.plan(towards(torch.zeros(4)), nominal=torch.zeros(3, 4)),
            r"nominal must have shape \(B, H, 4\), got \(",
        ),
        (
            lambda p: p.plan(towards(torch.zeros(4)), nominal=torch.zeros(1, 3, 5)),
            r"nominal must have shape \(B, H, 4\), got \(",
        ),
        (lambda p: p.plan(towards(torch.zeros(4)), nominal=torch.full((1, 3, 4), math.nan)), "nominal holds"),
        (lambda p: p.plan(towards(torch.zeros(4)), nominal=torch.zeros(3, 3, 4)), "nominal is for 3"),
        (lambda p: p.plan(towards(torch.zeros(4)), horizon=0), "horizon must be at least 1, got 0"),
        (lambda p: p.plan(towards(torch.zeros(4)), elapsed=-1), "elapsed must be at least 0, got -1"),
        (lambda p: p.plan(towards(torch.zeros(4)), deadline_ms=math.nan), "deadline_ms must be at least 0, got nan"),
    ],
)
def test_what_is_wrong_with_a_call_is_named(call, named: str) -> None:
    planner = few("cem")
    planner.reset([0])
    with pytest.raises(ValueError, match=named):
        call(planner)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"low": [0.0], "high": [1.0, 2.0]}, r"low and high must have shape \(A,\), got \(1,\) and \(2,\)"),
        ({"low": [2.0], "high": [1.0]}, "low is above high"),
        (
            {"low": [-math.inf], "high": [1.0]},
            "low and high must be finite: the deviation of the candidates is a fraction of the range",
        ),
        ({"low": [0.0] * 3, "high": [1.0] * 3, "action_block": 2}, "action_block is 2"),
        (
            {"low": [0.0, 0.1], "high": [1.0, 1.0], "action_block": 2, "parameterization": "held"},
            "differ within a block",
        ),
    ],
)
def test_what_is_wrong_with_bounds_is_named(arguments, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make_planner("cem", **{"action_block": 1, **arguments})


def test_a_gradient_planner_says_when_a_cost_has_no_gradient() -> None:
    planner = few("gradient")
    with pytest.raises(ValueError, match="the cost has no gradient"):
        planner.plan(lambda c: c.detach().sum((2, 3)))
