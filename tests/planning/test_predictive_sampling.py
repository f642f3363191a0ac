"""Predictive sampling: a random walk of the best."""

from __future__ import annotations

import torch

from wmplan.planning import PredictiveSampling, PredictiveSamplingConfig


def test_each_iteration_goes_on_from_the_best_with_a_smaller_deviation() -> None:
    config = PredictiveSamplingConfig(
        num_samples=4000, num_iterations=3, horizon=1, init_std=0.04, std_decay=0.5, min_std=0.015, final_mean=False
    )
    planner = PredictiveSampling(config, [-5.0], [5.0])
    planner.reset([0])
    plan = planner.plan(lambda c: (c - 3.0).abs().sum((2, 3)), record=True)
    best = torch.zeros(())
    for candidates, costs, std in zip(
        plan.diagnostics["candidates"], plan.diagnostics["candidate_costs"], (0.2, 0.1, 0.075), strict=True
    ):
        assert candidates[0, 0].item() == best
        assert abs((candidates - best).std().item() / std - 1) < 0.05
        best = candidates[0, costs.argmin(), 0, 0]
    assert plan.actions.item() == best
