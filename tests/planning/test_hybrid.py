"""The hybrid refines the sampler's best plans."""

from __future__ import annotations

import torch
from torch import Tensor

from wmplan.planning import ICEM, Hybrid, HybridConfig, ICEMConfig


def cost(candidates: Tensor) -> Tensor:
    return (candidates - 0.3).square().sum((2, 3))


def test_refinement_sets_out_from_the_samplers_best_plans_and_improves_them() -> None:
    common = {"num_samples": 30, "num_elites": 6, "num_iterations": 2, "horizon": 3}
    sampler = ICEM(ICEMConfig(**common, final_mean=False), [-1.0, -1.0], [1.0, 1.0])
    hybrid = Hybrid(HybridConfig(**common, num_refined=3, refine_iterations=20), [-1.0, -1.0], [1.0, 1.0])
    sampler.reset([0]), hybrid.reset([0])
    sampled, refined = sampler.plan(cost, record=True), hybrid.plan(cost, record=True)
    costs = refined.diagnostics["candidate_costs"]
    assert [part.shape[1] for part in costs] == [30, 24] + [3] * 20
    for ours, theirs in zip(costs, sampled.diagnostics["candidate_costs"], strict=False):
        assert torch.equal(ours, theirs)
    best = torch.cat(costs[:2], dim=1).sort().values[:, :3]
    torch.testing.assert_close(costs[2], best)
    assert refined.cost < 0.1 * sampled.cost
