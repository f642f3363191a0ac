"""The gradient planner against finite differences and a plain Adam."""

from __future__ import annotations

import torch
from torch import Tensor

from wmplan.planning import Gradient, GradientConfig
from wmplan.planning.gradient import Adam
from wmplan.planning.search_state import Box


def pendulum(candidates: Tensor) -> Tensor:
    """Costs (B, S) of swinging a pendulum up, by a rollout of its nonlinear dynamics."""
    angle = candidates.new_full(candidates.shape[:2], 2.5)
    speed, cost = torch.zeros_like(angle), torch.zeros_like(angle)
    for step in range(candidates.shape[2]):
        speed = speed + 0.1 * (torch.sin(angle) + candidates[:, :, step].sum(-1))
        angle = angle + 0.1 * speed
        cost = cost + (1 - torch.cos(angle)) + 0.01 * candidates[:, :, step].square().sum(-1)
    return cost


def test_the_gradient_agrees_with_finite_differences() -> None:
    planner = Gradient(GradientConfig(num_samples=3, num_iterations=1, horizon=4), [-2.0, -2.0], [2.0, 2.0])
    planner.reset([0, 1])
    seen = []
    update = planner.update
    planner.update = lambda state, elites, *rest: (seen.append(elites), update(state, elites, *rest))[1]
    planner.plan(pendulum)
    points, gradient = seen[0].candidates, seen[0].gradient
    exact = points.double()
    for index in range(points.shape[2]):
        nudge = torch.zeros_like(exact)
        nudge[..., index] = 1e-5
        shape = (2, 3, 4, 2)
        slope = (pendulum((exact + nudge).view(shape)) - pendulum((exact - nudge).view(shape))) / 2e-5
        torch.testing.assert_close(gradient[..., index].double(), slope, atol=1e-4, rtol=1e-4)


def test_adam_equals_torchs_inside_the_box() -> None:
    torch_points = torch.tensor([[[0.3, -0.2, 0.1]]], requires_grad=True)
    points = torch_points.detach().clone()
    low, high = torch.full((1,), -1.0), torch.full((1,), 1.0)  # half a range of 1
    box = Box.of_plans(GradientConfig(), low, high, action_dim=1, horizon=3, clock=0)
    theirs = torch.optim.Adam([torch_points], lr=0.01, betas=(0.9, 0.99), eps=0.0)
    ours = Adam(0.01, iterations=10**9)  # no fall of the rate
    target = torch.tensor([0.5, 0.6, -0.7])
    for _ in range(20):
        theirs.zero_grad()
        (torch_points - target).pow(4).sum().backward()
        theirs.step()
        points, ours = ours.step(points, 4 * (points - target) ** 3, box)
    torch.testing.assert_close(points, torch_points.detach(), atol=1e-5, rtol=1e-4)


def test_steps_end_at_the_bounds() -> None:
    planner = Gradient(GradientConfig(num_samples=2, num_iterations=40, horizon=2), [-1.0, 0.2], [0.5, 0.2])
    planner.reset([0])
    plan = planner.plan(lambda c: -c.sum((2, 3)))
    torch.testing.assert_close(plan.actions, torch.tensor([[[0.5, 0.2], [0.5, 0.2]]]))


def test_a_start_whose_cost_breaks_down_leaves_the_others_alone() -> None:
    def cost(candidates: Tensor) -> Tensor:
        value = (candidates - 0.4).square().sum((2, 3))
        return torch.cat([value[:, :1], value[:, 1:2] * torch.nan, value[:, 2:]], dim=1)

    planner = Gradient(GradientConfig(num_samples=3, horizon=2), [-1.0], [1.0])
    planner.reset([0])
    plan = planner.plan(cost)
    torch.testing.assert_close(plan.actions, torch.full((1, 2, 1), 0.4), atol=1e-2, rtol=0)
