"""Rate limits, soft and hard constraints."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wmplan.planning import PLANNERS, CEMConfig, FrozenPrefix, HardConstraint, RateLimit, SoftConstraint, make_planner
from wmplan.planning.ranking import rank_costs

FEW = {"num_samples": 12, "num_iterations": 3, "horizon": 3}


def few(name: str, **settings: object):
    settings = {**FEW, **settings}
    if "num_elites" in PLANNERS[name][1].__dataclass_fields__:
        settings.setdefault("num_elites", 4)
    if name == "hybrid":
        settings.update(num_refined=2, refine_iterations=3)
    return make_planner(name, [-1.0] * 4, [1.0] * 4, action_block=2, **settings)


def cost(candidates: Tensor) -> Tensor:
    return -candidates.sum((2, 3))


@settings(max_examples=30)
@given(
    st.sampled_from(sorted(PLANNERS)),
    st.sampled_from([0.0, 0.1, [0.3, 0.05]]),
    st.booleans(),
    st.sampled_from(["free", "held"]),
)
def test_a_rate_limit_holds_at_every_robot_step(name: str, change, known: bool, kind: str) -> None:
    previous = torch.tensor([[0.5, -0.9], [0.0, 1.0]]) if known else None
    planner = few(name, parameterization=kind)
    planner.reset([0, 1])
    plan = planner.plan(cost, constraints=[RateLimit(change, previous)], record=True)
    for candidates in (*plan.diagnostics["candidates"], plan.actions[:, None]):
        steps = candidates.view(2, candidates.shape[1], 6, 2)
        if previous is not None:
            steps = torch.cat([previous[:, None, None].expand(-1, steps.shape[1], 1, 2), steps], dim=2)
        assert (steps.diff(dim=2).abs() <= torch.tensor(change) + 1e-6).all()
        assert (candidates.abs() <= 1).all()
    torch.testing.assert_close(plan.cost, cost(plan.actions[:, None])[:, 0])


@pytest.mark.parametrize("name", PLANNERS)
def test_a_plan_that_breaks_a_hard_constraint_is_never_returned_while_a_feasible_one_was_seen(name: str) -> None:
    def by_how_much(candidates: Tensor) -> Tensor:
        return candidates.sum((2, 3)) - torch.tensor([[0.5], [-100.0]])  # the second: no candidate can keep it

    planner = few(name)
    planner.reset([0, 1])
    told = planner.plan(cost, constraints=[HardConstraint(by_how_much)], record=True)
    every = torch.cat(told.diagnostics["candidates"], dim=1)
    broken = by_how_much(every)
    feasible = broken[0] <= 0
    assert told.diagnostics["feasible"].tolist() == [True, False]
    assert by_how_much(told.actions[:, None])[0, 0] <= 0
    assert told.cost[0] <= cost(every)[0][feasible].amin()
    assert by_how_much(told.actions[:, None])[1, 0] <= broken[1].amin()  # the least broken one


def test_a_hard_constraint_that_is_no_number_is_broken() -> None:
    planner = few("cem")
    planner.reset([0])
    nan_but_first = HardConstraint(
        lambda c: torch.where(torch.arange(c.shape[1]) == 0, 0.0, torch.nan).expand(c.shape[:2])
    )
    plan = planner.plan(cost, constraints=[nan_but_first], record=True)
    firsts = torch.stack([candidates[0, 0] for candidates in plan.diagnostics["candidates"]])
    assert (firsts == plan.actions).all((1, 2)).any()


def test_infeasible_candidates_rank_after_feasible_ones_and_by_how_much_they_break() -> None:
    costs = torch.tensor([[5.0, 1.0, 9.0, -3.0, torch.inf], [2.0, 2.0, 2.0, 2.0, 2.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
    violation = torch.tensor([[0.0, 2.0, 0.0, 0.1, 0.0], [1e-9, 0.0, 0.0, 0.0, 0.0], [5.0, 4.0, 3.0, 2.0, 1.0]])
    order = rank_costs(costs, violation).sort(dim=1, stable=True).indices
    assert order.tolist() == [[0, 2, 3, 1, 4], [1, 2, 3, 4, 0], [4, 3, 2, 1, 0]]


def test_a_penalty_is_added_with_its_weight() -> None:
    planner = few("cem")
    planner.reset([0])
    penalty = SoftConstraint(lambda c: c.square().sum((2, 3)), weight=3.0)
    plan = planner.plan(cost, constraints=[penalty])
    actions = plan.actions[:, None]
    torch.testing.assert_close(plan.cost, (cost(actions) + 3.0 * actions.square().sum((2, 3)))[:, 0])


def test_mistakes_are_named() -> None:
    planner = few("cem")
    planner.reset([0])
    with pytest.raises(
        ValueError, match=r"a constraint's function must give shape \(B, S\) = \(1, 12\), got \(1, 12, 3\)"
    ):
        planner.plan(cost, constraints=[SoftConstraint(lambda c: c.sum(3))])
    with pytest.raises(ValueError, match="give it to LatentCost"):
        planner.plan(cost, constraints=[HardConstraint(lambda z, c: c.sum((2, 3)), on="latents")])
    with pytest.raises(ValueError, match="max_change must be at least 0, got -1"):
        RateLimit(-1)
    assert CEMConfig().num_samples == 300


@pytest.mark.parametrize("kind", ["free", "held", "spline-cubic"])
@pytest.mark.parametrize("name", PLANNERS)
def test_every_candidate_begins_with_what_is_committed(name: str, kind: str) -> None:
    committed = torch.tensor([[[0.5, -0.5], [0.25, 1.0], [0.0, 0.125]], [[-1.0, 0.0], [9.0, 9.0], [9.0, 9.0]]])
    planner = few(name, parameterization=kind)
    planner.reset([0, 1])
    plan = planner.plan(cost, constraints=[FrozenPrefix(committed, torch.tensor([3, 1]))], record=True)
    for candidates in (*plan.diagnostics["candidates"], plan.actions[:, None]):
        steps = candidates.view(2, candidates.shape[1], 6, 2)
        torch.testing.assert_close(steps[0, :, :3], committed[0].expand(steps.shape[1], -1, -1))
        torch.testing.assert_close(steps[1, :, :1], committed[1, :1].expand(steps.shape[1], -1, -1))
        assert (candidates.abs() <= 1).all()
    if name != "gradient":
        assert plan.actions.view(2, 6, 2)[0, 3:].std() > 0 or kind == "held"  # the rest is searched
    torch.testing.assert_close(plan.cost, cost(plan.actions[:, None])[:, 0])


def test_a_prefix_of_no_step_changes_nothing_but_how_it_is_computed() -> None:
    plans = []
    for constraints in ((), (FrozenPrefix(torch.zeros(2, 0, 2), torch.zeros(2, dtype=torch.int64)),)):
        planner = few("icem")
        planner.reset([0, 1])
        plans.append(planner.plan(cost, constraints=constraints).actions)
    assert torch.equal(*plans)


@pytest.mark.parametrize(
    ("actions", "counts", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2), "shape"),
        (torch.zeros(2, 3, 2), torch.zeros(3), "shape"),
        (torch.zeros(2, 3, 2), torch.tensor([0, 4]), "from 0 to 3"),
        (torch.zeros(2, 3, 2), torch.tensor([-1, 0]), "from 0 to 3"),
    ],
)
def test_a_wrong_prefix_is_named(actions: Tensor, counts: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrozenPrefix(actions, counts)
