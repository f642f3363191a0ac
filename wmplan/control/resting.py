"""What a robot does of which nothing is asked, once all else is as in its goal: nothing.

A plan that brings a block to its place is good until it is there. From then on all that is left of its cost is the
model's error, by which the next plans push on, off the goal again; or they go away, since nothing says where to stay.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmplan.control.arrival import errors_away
from wmplan.control.planning_core import PlanningQuery, RobotPlan
from wmplan.control.safety.limits import Limits
from wmplan.models.base import WorldModel
from wmplan.planning.cost import copies
from wmplan.planning.objectives.combinations import start
from wmplan.planning.objectives.objective import Objective
from wmplan.planning.objectives.parts import RobotAnywhere

THERE = 1.3
"""Usual one-step errors, root mean square, between what is seen and a goal that is reached: on Push-T with the pusher
masked out, 92 % of the frames with the block within 1 cm and 10 degrees of its goal had less, and 5 % of those with it
beyond 2 cm or 20 degrees (360 frames of 40 development episodes)."""


@torch.inference_mode()
def is_there(model: WorldModel, objective: Objective | None, here: Tensor, goal: Tensor) -> bool:
    """Whether a robot of which its objective asks nothing sees its goal reached.

    Args:
        here, goal: latents (L,).
    """
    scale = model.error_scale
    if not isinstance(objective, RobotAnywhere) or scale is None or scale.ndim != 1:
        return False
    measure = start(objective, *copies(goal[None], goal[None]))
    return float(errors_away(scale, measure, model, here[None], goal[None])[0]) <= THERE


def resting_plan(query: PlanningQuery, limits: Limits, steps: int) -> RobotPlan:
    """A plan of no motion, so many robot steps long, after what is committed; it keeps to the rate of change.

    A number of the action that is a place holds what was sent last.
    """
    rest: NDArray[np.float32] = np.where(limits.held, query.last_action, limits.rest_action())
    change = np.inf if query.max_change is None else np.array(query.max_change)
    rows, last = [], query.committed[-1] if len(query.committed) else query.last_action
    for _ in range(steps):
        last = last + np.clip(rest - last, -change, change)
        rows.append(last)
    actions = np.concatenate([query.committed, np.array(rows)]).astype(np.float32)
    return RobotPlan(actions, 0.0, True, None)
