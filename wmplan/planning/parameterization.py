"""What a planner searches over: every robot step, actions held within a block, or the knots of a spline."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicHermiteSpline
from torch import Tensor

from wmplan.errors import UserError
from wmplan.planning.config import PARAMETERIZATIONS

SMALLEST = 1e-4  # singular value, of the largest: what moves the steps by less than this is not read off them


@lru_cache(maxsize=256)
def basis(kind: str, steps: int, spacing: int, offset: int) -> NDArray[np.float64]:
    """The map from K knots to `steps` robot steps, (steps, K).

    Knots stand at whole multiples of `spacing` robot steps of absolute time, the plan starting `offset` steps
    after one, and each step depends on the knots around it alone: a plan that time has shifted is on the same knots,
    without those that have passed. The cubic spline is Hermite's, its slope at a knot being that between the knots
    beside it, as in MuJoCo MPC (Howell et al., 2022); so it has a knot before the plan and one after it.
    """
    times = np.arange(steps) + offset
    if kind in ("held", "spline-zero"):
        knot = times // spacing
        return np.eye(knot[-1] + 1)[knot]
    last = -(-int(times[-1]) // spacing)
    if last == 0:  # one step, on a knot
        return np.ones((steps, 1))
    knots = np.arange(last + 1) * spacing
    if kind == "spline-linear":
        return np.stack([np.interp(times, knots, row) for row in np.eye(last + 1)], axis=1)
    values = np.eye(last + 3)
    slopes = (values[2:] - values[:-2]) / (2 * spacing)
    matrix = CubicHermiteSpline(knots, values[1:-1], slopes)(times)
    return matrix[:, np.abs(matrix).max(axis=0) > 0]


@lru_cache(maxsize=1024)
def fit(kind: str, steps: int, spacing: int, offset: int, planned: int) -> NDArray[np.float64]:
    """The map from robot steps to the knots nearest to them in the least-squares sense, (K, steps).

    Nearest to the first `planned` steps; the steps after them decide what those leave open. Where a plan was shifted
    its last steps only hold its last action: they must not bend what was planned.
    """
    matrix = basis(kind, steps, spacing, offset)
    head, tail = matrix[:planned], matrix[planned:]
    left, size, right = np.linalg.svd(head)
    rank = int((size > SMALLEST * size[0]).sum())
    inverse = np.zeros((matrix.shape[1], steps))
    inverse[:, :planned] = right[:rank].T / size[:rank] @ left[:, :rank].T
    free = right[rank:].T  # (K, K - rank): changes of the knots that the planned steps do not show
    rest = np.eye(steps)[planned:] - tail @ inverse  # of the later steps, what the knots do not give yet
    return inverse + free @ np.linalg.pinv(tail @ free, rcond=SMALLEST) @ rest


class Parameterization:
    """A linear map between search points (..., K * action_dim) and actions (..., H, A).

    Args:
        kind: one of PARAMETERIZATIONS.
        horizon: H, model steps.
        action_block: robot steps in a model step.
        action_dim: numbers in one robot step's action.
        knot_spacing: robot steps between spline knots.
        start: robot steps of absolute time at which the plan starts.
        device: where the points are.
    """

    def __init__(
        self,
        kind: str,
        horizon: int,
        action_block: int,
        action_dim: int,
        knot_spacing: int = 1,
        start: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if kind not in PARAMETERIZATIONS:
            raise UserError(f"parameterization must be one of {', '.join(PARAMETERIZATIONS)}, got {kind!r}")
        self.horizon, self.action_dim, self.block_dim = horizon, action_dim, action_block * action_dim
        self.steps = horizon * action_block
        self.free = kind == "free"
        if self.free:
            self.num_knots = self.steps
            return
        spacing, offset = (action_block, 0) if kind == "held" else (knot_spacing, start % knot_spacing)
        self._grid = kind, self.steps, spacing, offset
        self.matrix = torch.from_numpy(basis(*self._grid)).float().to(device)
        self.num_knots = self.matrix.shape[1]

    def actions(self, points: Tensor) -> Tensor:
        """Actions (..., H, A) of points (..., K * action_dim)."""
        leading = points.shape[:-1]
        if not self.free:
            knots = points.reshape(*leading, self.num_knots, self.action_dim)
            points = self.matrix @ knots  # (..., robot steps, action_dim)
        return points.reshape(*leading, self.horizon, self.block_dim)

    def points(self, actions: Tensor) -> Tensor:
        """The points (..., K * action_dim) nearest to actions (..., H, A) in the least-squares sense; see fit()."""
        leading = actions.shape[:-2]
        if self.free:
            return actions.reshape(*leading, self.num_knots * self.action_dim)
        plans = actions.reshape(-1, self.steps, self.action_dim)
        # Up to the step from which on the last action is held.
        changes = (plans[:, 1:] != plans[:, :-1]).any(2).flip(1).to(torch.uint8)
        planned = (self.steps - changes.argmax(1)).tolist() if self.steps > 1 else [1] * len(plans)
        points = plans.new_empty(len(plans), self.num_knots, self.action_dim)
        for count in set(planned):
            rows = [row for row, other in enumerate(planned) if other == count]
            points[rows] = torch.from_numpy(fit(*self._grid, count)).to(plans) @ plans[rows]
        return points.reshape(*leading, self.num_knots * self.action_dim)
