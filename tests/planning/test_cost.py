"""The latent cost against a plain loop, whatever the chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from wmplan.models.base import Frames, ModelSpec, WorldModel
from wmplan.planning import (
    CEM,
    ActionPenalty,
    CEMConfig,
    Gradient,
    GradientConfig,
    HardConstraint,
    LatentCost,
    LatentDistance,
    SoftConstraint,
    SwitchByDistance,
    WeightedSum,
)


class Adder(WorldModel):
    """A model whose latent is the sum of the actions so far, after the last context frame."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = ModelSpec((8, 8), 2, 1, (-1.0,) * 2, (1.0,) * 2, (0.0,) * 2, (1.0,) * 2, (2,))
        self.weight = torch.nn.Parameter(torch.eye(2))
        self.sizes: list[int] = []
        self.inference: list[bool] = []

    def encode(self, frames: Frames, proprio: Tensor | None = None) -> Tensor:
        raise AssertionError("the context comes encoded")

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        self.check_rollout(context, actions, past_actions)
        self.sizes.append(actions.shape[1])
        self.inference.append(torch.is_inference_mode_enabled())
        return context[:, None, -1:] + actions.cumsum(2) @ self.weight


class LastAdder(Adder):
    def rollout_last(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        self.sizes.append(-actions.shape[1])
        return context[:, None, -1:] + actions.sum(2, keepdim=True) @ self.weight


CONTEXT, PAST = torch.randn(3, 2, 2), torch.randn(3, 1, 2)
GOAL, CANDIDATES = torch.randn(3, 2), torch.rand(3, 10, 4, 2) - 0.5


def expected(steps: str) -> Tensor:
    costs = torch.empty(3, 10)
    for b in range(3):
        for s in range(10):
            position, total = CONTEXT[b, -1].clone(), 0.0
            for action in CANDIDATES[b, s]:
                position = position + action
                last = (position - GOAL[b]).square().mean()
                total = total + last
            costs[b, s] = last if steps == "last" else total
    return costs


@pytest.mark.parametrize("kind", [Adder, LastAdder])
def test_from_the_arrival_on_every_step_counts(kind: type[Adder]) -> None:
    def costs(arrival: int | None, steps: str = "last") -> Tensor:
        return LatentCost(kind(), LatentDistance("l2", steps), CONTEXT, GOAL, PAST, arrival=arrival)(CANDIDATES)

    torch.testing.assert_close(costs(1), expected("sum"))
    torch.testing.assert_close(
        costs(2), expected("sum") - (CONTEXT[:, -1:] + CANDIDATES[:, :, 0] - GOAL[:, None]).square().mean(-1)
    )
    for arrival in (4, 9, None):
        torch.testing.assert_close(costs(arrival), expected("last"))
    torch.testing.assert_close(costs(1, "sum"), expected("sum"))  # which counts them already
    with pytest.raises(ValueError, match="arrival must be a model step, at least 1, got 0"):
        costs(0)


class RobotStepAdder(Adder):
    """Two robot steps of one number make a model step; the latent is read after any of them."""

    reads_robot_steps = True

    def __init__(self) -> None:
        super().__init__()
        self.spec = ModelSpec((8, 8), 2, 2, (-1.0,), (1.0,), (0.0,), (1.0,), (1,))

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        return context[:, None, -1:] + actions.sum(-1, keepdim=True).cumsum(2)

    def rollout_at(self, context: Tensor, actions: Tensor, past_actions: Tensor | None, steps: Sequence[int]) -> Tensor:
        moved = context[:, None, -1:] + actions.flatten(2)[..., None].cumsum(2)  # (B, S, robot steps, 1)
        return moved[:, :, [step - 1 for step in steps]]


def test_an_arrival_between_model_steps_is_kept_from_that_robot_step_on() -> None:
    context, goal, candidates = CONTEXT[..., :1], GOAL[:, :1], CANDIDATES  # 4 model steps of 2 robot steps

    def costs(arrival: float | Tensor | None, correction: float = 0.0) -> Tensor:
        past = torch.zeros(3, 1, 2)
        return LatentCost(
            RobotStepAdder(), LatentDistance("l2"), context, goal, past, arrival=arrival, correction=correction
        )(candidates)

    places = context[:, None, -1] + candidates.flatten(2).cumsum(2)  # (B, S, 8)
    off = (places - goal[:, None]).square()
    for step in range(1, 9):
        torch.testing.assert_close(costs(step / 2), off[..., step - 1 :].mean(-1))
    for late in (4.0, 7.5, None):
        torch.testing.assert_close(costs(late), off[..., -1])
    each = costs(torch.tensor([0.5, 2.5, 4.0]))
    torch.testing.assert_close(each, torch.stack([off[0].mean(-1), off[1, :, 4:].mean(-1), off[2, :, -1]]))
    error = (context[:, -1] - context[:, 0])[:, None]  # the robot did nothing, and yet it moved
    torch.testing.assert_close(costs(3.5, 1.0), (places + error - goal[:, None]).square()[..., 6:].mean(-1))
    with pytest.raises(ValueError, match="arrival must be a model step, at least 0.5, got 0.25"):
        costs(0.25)


def added_by_hand(executed: Sequence[int], places: Tensor, goal: Tensor) -> Tensor:
    """Squared distances (B, S) after so many of the places (B, S, H, L) in each row."""
    ends = torch.stack([row[:, end - 1] for row, end in zip(places, executed, strict=True)])
    return (ends - goal[:, None]).square().mean(-1)


@pytest.mark.parametrize("bound", [None, 1])
@pytest.mark.parametrize("arrival", [None, 2])
@pytest.mark.parametrize("kind", [Adder, LastAdder])
def test_the_executed_prefix_counts_beside_the_end(kind: type[Adder], arrival: int | None, bound: int | None) -> None:
    def costs(executed: float | Tensor, weight: float, correction: float = 0.0, steps: str = "last") -> Tensor:
        objective = WeightedSum([(1.0, LatentDistance(steps=steps)), (2.0, LatentDistance(executed=weight))])
        model = kind()
        more: dict[str, Any] = {"arrival": arrival, "correction": correction, "max_batch_bytes": bound}
        return LatentCost(model, objective, CONTEXT, GOAL, PAST, executed=executed, **more)(CANDIDATES)

    places = CONTEXT[:, None, -1:] + CANDIDATES.cumsum(2)
    for steps in ("last", "sum"):
        without = costs(1.0, 0.0, steps=steps)
        for executed, ends in {0.4: [1] * 3, 1.0: [1] * 3, 2.2: [3] * 3, 9.0: [4] * 3}.items():
            added = 2 * 0.7 * added_by_hand(ends, places, GOAL)
            torch.testing.assert_close(costs(executed, 0.7, steps=steps), without + added)
        each = 2 * 0.7 * added_by_hand([2, 1, 4], places, GOAL)
        torch.testing.assert_close(costs(torch.tensor([2.0, 0.4, 5.0]), 0.7, steps=steps), without + each)
    error = (CONTEXT[:, -1] - (CONTEXT[:, 0] + PAST[:, 0]))[:, None, None]
    added = 2 * 0.7 * added_by_hand([2] * 3, places + error, GOAL)
    torch.testing.assert_close(costs(2.0, 0.7, 1.0), costs(2.0, 0.0, 1.0) + added)
    with pytest.raises(ValueError, match="executed must be a model step above 0, got 0"):
        costs(0, 0.7)


@pytest.mark.parametrize("arrival", [None, 2.5])
def test_an_executed_prefix_may_end_between_model_steps(arrival: float | None) -> None:
    context, goal = CONTEXT[..., :1], GOAL[:, :1]  # 4 model steps of 2 robot steps

    def costs(executed: float | Tensor, weight: float) -> Tensor:
        objective = LatentDistance(executed=weight)
        return LatentCost(RobotStepAdder(), objective, context, goal, arrival=arrival, executed=executed)(CANDIDATES)

    places = (context[:, None, -1] + CANDIDATES.flatten(2).cumsum(2))[..., None]  # (B, S, 8, 1)
    for executed, ends in {0.5: [1] * 3, 1.5: [3] * 3, 9.0: [8] * 3}.items():
        torch.testing.assert_close(costs(executed, 0.3), costs(1.0, 0.0) + 0.3 * added_by_hand(ends, places, goal))
    each = costs(torch.tensor([1.0, 2.5, 0.5]), 0.3)
    torch.testing.assert_close(each, costs(1.0, 0.0) + 0.3 * added_by_hand([2, 5, 1], places, goal))


def test_a_switch_adds_what_the_chosen_objective_does_at_the_prefix() -> None:
    near, far = LatentDistance(executed=2.0), LatentDistance("l1")
    switch = SwitchByDistance(near, far, float((CONTEXT[:, -1] - GOAL).abs().mean(-1).median()))
    is_near = (CONTEXT[:, -1] - GOAL).abs().mean(-1) < switch.threshold
    assert 0 < is_near.sum() < 3
    found, by_near, by_far = (
        LatentCost(Adder(), objective, CONTEXT, GOAL, PAST)(CANDIDATES) for objective in (switch, near, far)
    )
    torch.testing.assert_close(found, torch.where(is_near[:, None], by_near, by_far))


def test_nothing_is_rolled_out_for_a_prefix_that_no_objective_reads() -> None:
    model = LastAdder()
    LatentCost(model, LatentDistance(), CONTEXT, GOAL, PAST, executed=2.0)(CANDIDATES)
    assert model.sizes == [-10]


@pytest.mark.parametrize("kind", [Adder, LastAdder])
def test_correction_takes_the_newest_error_off_every_prediction(kind: type[Adder]) -> None:
    """For a distance that is the same as a goal that much nearer."""
    error = CONTEXT[:, -1] - (CONTEXT[:, 0] + PAST[:, 0])
    corrected = LatentCost(kind(), LatentDistance(), CONTEXT, GOAL, PAST, correction=0.7)
    torch.testing.assert_close(
        corrected(CANDIDATES), LatentCost(kind(), LatentDistance(), CONTEXT, GOAL - 0.7 * error, PAST)(CANDIDATES)
    )

    model = kind()
    model.error_scale = torch.tensor([0.01, 10.0])  # the first entry's errors are far from usual
    bounded = LatentCost(model, LatentDistance(), CONTEXT, GOAL, PAST, correction=1.0)
    shift = torch.stack([error[:, 0].clamp(-0.03, 0.03), error[:, 1]], -1)
    torch.testing.assert_close(
        bounded(CANDIDATES), LatentCost(kind(), LatentDistance(), CONTEXT, GOAL - shift, PAST)(CANDIDATES)
    )


def test_correction_needs_a_past_and_a_sensible_size() -> None:
    alone = LatentCost(Adder(), LatentDistance(), CONTEXT[:, -1:], GOAL, correction=1.0)
    torch.testing.assert_close(alone(CANDIDATES), expected("last"))
    with pytest.raises(ValueError, match="correction must be from 0 to 1, got 1.5"):
        LatentCost(Adder(), LatentDistance(), CONTEXT, GOAL, PAST, correction=1.5)


@pytest.mark.parametrize("steps", ["last", "sum"])
@pytest.mark.parametrize("bound", [None, 1, 4 * 4 * 2 * 16 * 3 * 4])
def test_costs_are_the_same_whatever_the_chunks(steps: str, bound: int | None) -> None:
    model = Adder()
    cost = LatentCost(model, LatentDistance(steps=steps), CONTEXT, GOAL, PAST, max_batch_bytes=bound)
    torch.testing.assert_close(cost(CANDIDATES), expected(steps))
    assert model.sizes == {None: [10], 1: [1] * 10}.get(bound, [4, 4, 2])
    assert all(model.inference)


def test_only_the_last_latent_is_asked_for_where_nothing_else_is_read() -> None:
    model = LastAdder()
    torch.testing.assert_close(LatentCost(model, LatentDistance(), CONTEXT, GOAL, PAST)(CANDIDATES), expected("last"))
    torch.testing.assert_close(
        LatentCost(model, LatentDistance(steps="sum"), CONTEXT, GOAL, PAST)(CANDIDATES), expected("sum")
    )
    everything = SoftConstraint(lambda z, c: z.new_zeros(z.shape[:2]), on="latents")
    LatentCost(model, LatentDistance(), CONTEXT, GOAL, PAST, constraints=[everything])(CANDIDATES)
    assert model.sizes == [-10, 10, 10]


def test_a_model_may_say_what_memory_it_takes() -> None:
    model = Adder()
    model.rollout_bytes = lambda horizon: 100 * horizon  # type: ignore[attr-defined]
    LatentCost(model, LatentDistance(), CONTEXT, GOAL, PAST, max_batch_bytes=3 * 100 * 4 * 5)(CANDIDATES)
    assert model.sizes == [5, 5]


def test_constraints_on_latents_are_soft_and_hard() -> None:
    model = Adder()
    wall = HardConstraint(lambda z, c: z[..., 0].amax(2) - 0.2, on="latents")  # stay left of 0.2 on the way
    effort = SoftConstraint(lambda z, c: c.square().sum((2, 3)), weight=0.1, on="latents")
    goal, context = torch.tensor([[0.5, 0.5]]), torch.zeros(1, 1, 2)
    for planner in (
        CEM(CEMConfig(num_samples=100, num_elites=10, num_iterations=8, horizon=3), [-1.0] * 2, [1.0] * 2),
        Gradient(GradientConfig(horizon=3), [-1.0] * 2, [1.0] * 2),
    ):
        cost = LatentCost(
            model, LatentDistance(), context, goal, constraints=[wall, effort], max_batch_bytes=4 * 3 * 2 * 16 * 7
        )
        planner.reset([0])
        plan = planner.plan(cost)
        path = plan.actions[0].cumsum(0)
        assert plan.diagnostics["feasible"].all() and path[:, 0].max() <= 0.2
        assert plan.cost.item() == pytest.approx(
            ((path[-1] - goal).square().mean() + 0.1 * plan.actions.square().sum()).item(), rel=1e-4
        )
    assert path[-1, 1] > 0.2  # the other way is free


class Spoiler:
    """Calls a function, and then leaves nothing of what it was given."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.last_only = getattr(function, "last_only", False)

    def __call__(self, *given: Any) -> Tensor:
        value = self.function(*given).clone()
        for tensor in given:
            if isinstance(tensor, Tensor):
                tensor.fill_(torch.nan)
        return value


class SpoilingAdder(Adder):
    def rollout(self, *given: Any) -> Tensor:
        return Spoiler(super().rollout)(*given)


class SpoilingLastAdder(LastAdder):
    def rollout(self, *given: Any) -> Tensor:
        return Spoiler(super().rollout)(*given)

    def rollout_last(self, *given: Any) -> Tensor:
        return Spoiler(super().rollout_last)(*given)


class SpoilingRobotStepAdder(RobotStepAdder):
    def rollout(self, *given: Any) -> Tensor:
        return Spoiler(super().rollout)(*given)

    def rollout_at(self, *given: Any) -> Tensor:
        return Spoiler(super().rollout_at)(*given)


class Starting(Spoiler):
    """An objective that is asked where the plan starts."""

    def for_start(self, current: Tensor, goal: Tensor) -> Spoiler:
        current.fill_(torch.nan), goal.fill_(torch.nan)
        return Spoiler(self.function)


@pytest.mark.parametrize("kinds", [(Adder, SpoilingAdder), (LastAdder, SpoilingLastAdder)])
@pytest.mark.parametrize("steps", ["last", "sum"])
@pytest.mark.parametrize("arrival", [None, 2])
@pytest.mark.parametrize("limited", [True, False])
def test_models_objectives_and_constraints_may_write_into_what_they_are_given(
    kinds: Any, steps: str, arrival: int | None, limited: bool
) -> None:
    near = [lambda z, a: z[..., 0].abs().sum(2), lambda z, a: (z.abs().amax((2, 3)) - 1) + a[:, :, 0, 0]]
    found = []
    for kind, wrap, objective in zip(kinds, (lambda f: f, Spoiler), (lambda f: f, Starting), strict=True):
        constraints = [
            SoftConstraint(wrap(near[0]), 0.3, "latents"),
            HardConstraint(wrap(near[1]), "latents"),
        ] * limited
        own = objective(
            WeightedSum([(1.0, LatentDistance("l1", steps)), (0.5, ActionPenalty((-1.0,) * 2, (1.0,) * 2))])
        )
        given = [tensor.clone() for tensor in (CONTEXT, GOAL, PAST)]
        cost = LatentCost(kind(), own, *given, 500, constraints, correction=0.5, arrival=arrival)
        for tensor in given:
            tensor.fill_(torch.nan)  # whoever made them may use their memory again
        found.append([cost.evaluate(CANDIDATES), cost.evaluate(CANDIDATES)])  # every iteration of a search
    for mine, plain in zip(*found, strict=True):
        torch.testing.assert_close(mine, plain, rtol=0, atol=0)


def test_a_model_read_between_its_steps_may_write_into_what_it_is_given() -> None:
    found = []
    for kind, objective in ((RobotStepAdder, LatentDistance()), (SpoilingRobotStepAdder, Starting(LatentDistance()))):
        given = [CONTEXT[..., :1], GOAL[:, :1], PAST]
        cost = LatentCost(kind(), objective, *given, correction=0.5, arrival=1.5)
        found.append(torch.stack([cost(CANDIDATES), cost(CANDIDATES)]))
    assert torch.equal(*found)


def test_the_differentiable_cost_reaches_the_candidates_and_no_one_elses_gradients() -> None:
    model = Adder()
    cost = LatentCost(model, LatentDistance(), CONTEXT, GOAL, PAST)
    candidates = CANDIDATES.clone().requires_grad_()
    cost.differentiable(candidates).sum().backward()
    slope = (
        CONTEXT[:, None, -1] + CANDIDATES.sum(2) - GOAL[:, None]
    )  # of half the squared sum, which the mean over two is
    torch.testing.assert_close(candidates.grad, slope[:, :, None].expand_as(CANDIDATES))
    assert not cost(candidates).requires_grad


def test_gradient_planning_leaves_the_weights_without_gradients() -> None:
    model = Adder()
    planner = Gradient(GradientConfig(horizon=3, num_iterations=3), [-1.0] * 2, [1.0] * 2)
    planner.reset([0, 1, 2])
    planner.plan(LatentCost(model, LatentDistance(), CONTEXT, GOAL, PAST))
    assert model.weight.grad is None


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match=r"beside this context goal must have shape \(3, 2\), got \(2, 2\)"):
        LatentCost(Adder(), LatentDistance(), CONTEXT, GOAL[:2], PAST)
    with pytest.raises(ValueError, match="max_batch_bytes must be at least 1, got 0"):
        LatentCost(Adder(), LatentDistance(), CONTEXT, GOAL, PAST, max_batch_bytes=0)
    with pytest.raises(ValueError, match="give it to plan"):
        LatentCost(Adder(), LatentDistance(), CONTEXT, GOAL, PAST, constraints=[SoftConstraint(lambda c: c)])
