"""What a planner searches over: every robot step, actions held within a block, or the knots of a spline."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from torch import Tensor

from wmplan.planning.config import PARAMETERIZATIONS


@lru_cache(maxsize=256)
def basis(kind: str, steps: int, spacing: int, offset: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The map from K knots to `steps` robot steps, (steps, K), and its least-squares inverse, (K, steps).

    Knots stand at whole multiples of `spacing` robot steps of absolute time, the plan starting `offset` steps
    after one: a plan that time has shifted is on the same knots and is represented exactly.
    """
    times = np.arange(steps) + offset
    if kind in ("held", "spline-zero"):
        knot = times // spacing
        matrix = np.eye(knot[-1] + 1)[knot]
    else:
        knots = np.arange(-(-int(times[-1]) // spacing) + 1) * spacing
        if len(knots) == 1:
            matrix = np.ones((steps, 1))
        elif kind == "spline-linear":
            matrix = np.stack([np.interp(times, knots, row) for row in np.eye(len(knots))], axis=1)
        else:
            matrix = CubicSpline(knots, np.eye(len(knots)), bc_type="natural")(times)
    return matrix, np.asarray(np.linalg.pinv(matrix), dtype=np.float64)


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
            raise ValueError(f"parameterization is {kind!r}, it has to be one of {', '.join(PARAMETERIZATIONS)}")
        self.horizon, self.action_dim, self.block_dim = horizon, action_dim, action_block * action_dim
        self.steps = horizon * action_block
        self.free = kind == "free"
        if self.free:
            self.num_knots = self.steps
            return
        spacing, offset = (action_block, 0) if kind == "held" else (knot_spacing, start % knot_spacing)
        matrix, inverse = basis(kind, self.steps, spacing, offset)
        self.matrix = torch.from_numpy(matrix).float().to(device)
        self.inverse = torch.from_numpy(inverse).float().to(device)
        self.num_knots = matrix.shape[1]

    def actions(self, points: Tensor) -> Tensor:
        """Actions (..., H, A) of points (..., K * action_dim)."""
        leading = points.shape[:-1]
        if not self.free:
            knots = points.reshape(*leading, self.num_knots, self.action_dim)
            points = self.matrix @ knots  # (..., robot steps, action_dim)
        return points.reshape(*leading, self.horizon, self.block_dim)

    def points(self, actions: Tensor) -> Tensor:
        """The points (..., K * action_dim) nearest to actions (..., H, A) in the least-squares sense."""
        leading = actions.shape[:-2]
        if not self.free:
            actions = self.inverse @ actions.reshape(*leading, self.steps, self.action_dim)
        return actions.reshape(*leading, self.num_knots * self.action_dim)
