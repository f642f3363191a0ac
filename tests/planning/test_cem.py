"""Elites, means and deviations against NumPy, and against the published package."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from wmplan.planning import CEM, ICEM, MPPI, CEMConfig, ICEMConfig, MPPIConfig
from wmplan.planning.elites import Elites
from wmplan.planning.gaussian import elite_moments
from wmplan.planning.planner import Planner
from wmplan.planning.search_state import Distribution


def learn(planner: Planner, candidates: Tensor, costs: Tensor) -> Distribution:
    """What is known after one iteration with these candidates (B, S, H, A) and costs (B, S)."""
    learned: list[Distribution] = []
    update = planner.update
    planner.propose = lambda *_: candidates.flatten(2)  # type: ignore[method-assign]
    planner.update = lambda *seen: learned.append(update(*seen)) or learned[-1]  # type: ignore[method-assign]
    planner.reset(range(len(candidates)))
    planner.plan(lambda given: costs if given.shape[1] == costs.shape[1] else given.new_zeros(given.shape[:2]))
    return learned[0]


def random_case(seed: int = 0, batch: int = 3, samples: int = 40) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    candidates = rng.normal(size=(batch, samples, 4, 2)).astype(np.float32)
    return torch.from_numpy(candidates), torch.from_numpy(rng.normal(size=(batch, samples)).astype(np.float32))


def test_mean_and_deviation_of_the_elites_equal_numpys() -> None:
    candidates, costs = random_case()
    config = CEMConfig(num_samples=40, num_elites=7, num_iterations=1, horizon=4, min_std=0.0)
    found = learn(CEM(config, [-9.0, -9.0], [9.0, 9.0]), candidates, costs)
    for index in range(len(costs)):
        best = candidates[index].numpy()[np.argsort(costs[index].numpy())[:7]].astype(np.float64)
        np.testing.assert_allclose(found.mean[index].view(4, 2), best.mean(0), atol=1e-6)
        np.testing.assert_allclose(found.std[index].view(4, 2), best.std(0, ddof=1), atol=1e-6)


def test_candidates_without_a_finite_cost_are_no_elites() -> None:
    candidates, costs = random_case()
    costs[0, :36] = torch.nan
    costs[1, :39] = torch.inf
    costs[2] = -torch.inf
    config = CEMConfig(num_samples=40, num_elites=7, num_iterations=1, horizon=4, min_std=0.0)
    found = learn(CEM(config, [-9.0, -9.0], [9.0, 9.0]), candidates, costs)
    np.testing.assert_allclose(found.mean[0], candidates[0, 36:].flatten(1).numpy().mean(0), atol=1e-6)
    np.testing.assert_allclose(found.std[0], candidates[0, 36:].flatten(1).numpy().std(0, ddof=1), atol=1e-6)
    np.testing.assert_allclose(found.mean[1], candidates[1, 39].flatten(), atol=1e-6)
    np.testing.assert_allclose(found.std[1], 0.0)
    np.testing.assert_allclose(found.mean[2], 0.0)  # as it was
    np.testing.assert_allclose(found.std[2], 9.0)


def test_a_single_elite_has_no_deviation_and_the_floor_holds() -> None:
    single = elite_moments(Elites(torch.randn(2, 1, 3), torch.zeros(2, 1), torch.zeros(2, 1), None))
    assert torch.equal(single.std, torch.zeros(2, 3)) and single.sample_size == 1
    candidates, costs = random_case()
    config = CEMConfig(num_samples=40, num_elites=1, num_iterations=1, horizon=4, min_std=0.1)
    found = learn(CEM(config, [-9.0, -3.0], [9.0, 3.0]), candidates, costs)
    torch.testing.assert_close(found.std, torch.tensor([0.9, 0.3]).repeat(4).expand(3, 8))


def test_the_best_is_carried_and_not_judged_twice() -> None:
    planner = CEM(CEMConfig(num_samples=30, num_elites=1, num_iterations=6, horizon=2), [-1.0], [1.0])
    planner.reset([0])
    sizes = []

    def cost(candidates: Tensor) -> Tensor:
        sizes.append(candidates.shape[1])
        return candidates.abs().sum((2, 3)) + (1.0 if len(sizes) > 1 else 0.0)  # all later ones are worse

    plan = planner.plan(cost, record=True)
    assert sizes == [30] * 6 + [1]
    best = plan.diagnostics["candidates"][0][0, plan.diagnostics["candidate_costs"][0][0].argmin()]
    for later in plan.diagnostics["candidates"][1:]:
        torch.testing.assert_close(later[0, 0], best)  # the mean of one elite, which stays


PEER = """
import json, sys
import numpy as np, torch
from types import SimpleNamespace
from gymnasium.spaces import Box
from stable_worldmodel.solver import CEMSolver, ICEMSolver, MPPISolver

class Model(torch.nn.Module):
    def get_cost(self, info, candidates):
        self.candidates = candidates.clone()
        self.costs = (candidates - 0.3).square().sum((2, 3)) + (5 * candidates).sin().sum((2, 3))
        return self.costs

told = {}
for name, solver, more in (
    ("cem", CEMSolver, {}),
    ("icem", ICEMSolver, {"alpha": 0.1}),
    ("mppi", MPPISolver, {"temperature": 0.5}),
):
    model = Model()
    made = solver(model=model, batch_size=2, num_samples=50, topk=9, n_steps=1, seed=3, **more)
    config = SimpleNamespace(horizon=4, action_block=2, receding_horizon=4, history_len=1, warm_start=False)
    made.configure(action_space=Box(-9, 9, (2, 1), np.float32), n_envs=2, config=config)
    out = made.solve({"x": torch.zeros(2, 1)})
    told[name] = {"candidates": model.candidates.tolist(), "costs": model.costs.tolist(),
                  "mean": out["mean"][0].tolist(), "var": out["var"][0].tolist()}
print(json.dumps(told))
"""


@pytest.mark.skipif(
    not os.environ.get("WMPLAN_PEER_PYTHON"), reason="WMPLAN_PEER_PYTHON names no Python with stable-worldmodel"
)
def test_one_iteration_equals_stable_worldmodels(tmp_path: Path) -> None:
    command = [os.environ["WMPLAN_PEER_PYTHON"], "-c", PEER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    same = {"num_samples": 50, "num_elites": 9, "num_iterations": 1, "horizon": 4, "min_std": 0.0}
    same["init_std"] = 1 / 9  # of half the range: a deviation of 1, as theirs
    bounds = [-9.0, -9.0], [9.0, 9.0]
    ours = {
        "cem": CEM(CEMConfig(**same), *bounds, action_block=2),
        "icem": ICEM(ICEMConfig(**same, momentum=0.1), *bounds, action_block=2),
        "mppi": MPPI(MPPIConfig(**same, temperature=0.5, standardise=False, adapt_std=False), *bounds, action_block=2),
    }
    for name, planner in ours.items():
        theirs = {key: torch.tensor(value) for key, value in told[name].items()}
        found = learn(planner, theirs["candidates"], theirs["costs"])
        torch.testing.assert_close(found.mean.view(2, 4, 2), theirs["mean"], atol=1e-6, rtol=0)
        torch.testing.assert_close(found.std.reshape(2, 4, 2), theirs["var"], atol=1e-6, rtol=0)
