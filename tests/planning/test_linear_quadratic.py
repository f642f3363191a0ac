"""Every planner against the exact optimum of linear-quadratic problems, by Riccati's recursion or a bounded QP.

BUDGETS documents what each needs for less than 1 % at up to 12 states and 60 numbers: the real-time defaults are made
for a few samples a plan, and a deviation floor of 5 % of the range alone costs more than that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.linalg import block_diag
from scipy.optimize import lsq_linear
from torch import Tensor

from wmplan.planning import Cost, make_planner

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """x' = A x + B u from x0; cost: sum over the horizon of x' Q x (after each step) + u' R u."""

    a: Array
    b: Array
    q: Array
    r: Array
    x0: Array
    horizon: int
    bound: float

    def residual(self) -> tuple[Array, Array]:
        """(M, d) such that the cost of the stacked controls u, of shape (horizon * m,), is |M u + d|^2."""
        n, m = self.b.shape
        free, powers = [], [np.eye(n)]
        for _ in range(self.horizon):
            powers.append(self.a @ powers[-1])
            free.append(powers[-1] @ self.x0)
        forced = np.zeros((self.horizon * n, self.horizon * m))
        for row in range(self.horizon):
            for column in range(row + 1):
                forced[row * n : (row + 1) * n, column * m : (column + 1) * m] = powers[row - column] @ self.b
        root_q = block_diag(*[np.linalg.cholesky(self.q).T] * self.horizon)
        root_r = block_diag(*[np.linalg.cholesky(self.r).T] * self.horizon)
        return np.vstack([root_q @ forced, root_r]), np.concatenate(
            [root_q @ np.concatenate(free), np.zeros(len(root_r))]
        )

    def optimum(self) -> float:
        """The least cost within the bounds, by SciPy's bounded least squares."""
        matrix, offset = self.residual()
        return 2 * lsq_linear(matrix, -offset, (-self.bound, self.bound), tol=1e-13, method="bvls").cost

    def riccati(self) -> float:
        """The least cost without bounds, by the backward Riccati recursion."""
        p = np.zeros_like(self.q)
        for _ in range(self.horizon):
            cost_to_go = self.q + p  # of the state after this step
            gain = np.linalg.solve(self.r + self.b.T @ cost_to_go @ self.b, self.b.T @ cost_to_go @ self.a)
            p = self.a.T @ cost_to_go @ (self.a - self.b @ gain)
        return float(self.x0 @ p @ self.x0)

    def cost(self) -> Cost:
        """From candidates (B, S, horizon, m) to costs (B, S), by the residual."""
        matrix, offset = (torch.from_numpy(x).float() for x in self.residual())
        return lambda candidates: (candidates.flatten(2) @ matrix.T + offset).square().sum(-1)

    def simulate(self, candidates: Tensor) -> Tensor:
        """Costs (B, S) of candidates (B, S, horizon, m), by simulating step by step."""
        a, b, q, r = (torch.from_numpy(x).to(candidates.dtype) for x in (self.a, self.b, self.q, self.r))
        state = torch.from_numpy(self.x0).to(candidates.dtype).expand(*candidates.shape[:2], -1)
        total = candidates.new_zeros(candidates.shape[:2])
        for step in range(candidates.shape[2]):
            control = candidates[:, :, step]
            state = state @ a.T + control @ b.T
            total = total + ((state @ q) * state).sum(-1) + ((control @ r) * control).sum(-1)
        return total


def double_integrator(bound: float) -> Problem:
    """A point mass pulled to the origin from one metre away, at 10 Hz."""
    a, b = np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.005], [0.1]])
    return Problem(a, b, np.diag([1.0, 0.1]), np.array([[0.05]]), np.array([1.0, 0.0]), 20, bound)


def random_system(states: int, controls: int, bound: float, seed: int) -> Problem:
    """A random system with spectral radius 0.95."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(states, states))
    a *= 0.95 / np.abs(np.linalg.eigvals(a)).max()
    b = rng.normal(size=(states, controls)) / np.sqrt(states)
    return Problem(a, b, np.eye(states), 0.1 * np.eye(controls), rng.normal(size=states), 20, bound)


BUDGETS = {
    "cem": {"num_samples": 2500, "num_elites": 500, "num_iterations": 60, "min_std": 0.005},
    "icem": {
        "num_samples": 2500,
        "num_elites": 500,
        "num_iterations": 60,
        "min_std": 0.005,
        "noise_beta": 0.0,
        "decay": 1.0,
    },
    "mppi": {"num_samples": 1000, "num_elites": 200, "num_iterations": 60, "min_std": 0.005, "temperature": 1.5},
    "predictive_sampling": {"num_samples": 300, "num_iterations": 300, "std_decay": 0.985, "min_std": 0.002},
    "gradient": {},
    "hybrid": {"refine_iterations": 80, "learning_rate": 0.1},
}

PROBLEMS = {
    "double integrator": double_integrator(5.0),
    "double integrator, bounded": double_integrator(1.0),
    "4 states": random_system(4, 2, 1.2, seed=0),
    "4 states, bounded": random_system(4, 2, 0.2, seed=0),
    "12 states": random_system(12, 3, 3.0, seed=1),
    "12 states, bounded": random_system(12, 3, 0.2, seed=1),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_two_optima_agree_where_no_bound_is_active(name: str) -> None:
    problem = PROBLEMS[name]
    if name.endswith("bounded"):
        assert problem.optimum() > 1.05 * problem.riccati()  # the bounds are active
    else:
        assert problem.optimum() == pytest.approx(problem.riccati(), rel=1e-9)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("planner", BUDGETS)
def test_cost_is_within_one_percent_of_the_optimum(planner: str, problem: str) -> None:
    lq = PROBLEMS[problem]
    controls = lq.b.shape[1]
    search = make_planner(
        planner, [-lq.bound] * controls, [lq.bound] * controls, action_block=1, horizon=lq.horizon, **BUDGETS[planner]
    )
    search.reset([0])
    plan = search.plan(lq.cost())
    assert plan.actions.abs().max() <= lq.bound
    assert plan.cost.item() == pytest.approx(lq.simulate(plan.actions[:, None].double()).item(), rel=1e-4)
    assert 1.0 - 1e-5 < plan.cost.item() / lq.optimum() < 1.01


def test_cem_is_within_one_percent_at_its_defaults_on_the_double_integrator() -> None:
    for bound in (5.0, 1.0):
        lq = double_integrator(bound)
        search = make_planner("cem", [-bound], [bound], action_block=1, horizon=lq.horizon)
        search.reset([0])
        assert search.plan(lq.cost()).cost.item() / lq.optimum() < 1.01
