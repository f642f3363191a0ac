"""What a robot asks of a planner and what comes back, wherever the planner runs. Needs numpy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .goals import DeclaredGoal

PROTOCOL = "wmplan/1"
"""What a server and its clients have to agree on."""

Goal = Mapping[str, NDArray[Any]] | NDArray[np.uint8] | DeclaredGoal
"""What the camera should see: frames (H, W, 3) by camera name and maybe `proprio` (P,), or one camera's frame; or a
declared goal: a part of an image, a robot state, several in turn, any of several."""


@dataclass(frozen=True, eq=False)
class PlanRequest:
    """One frame to plan from, and what the robot did and will do around it.

    Attributes:
        observation: frames by camera name, uint8 (H, W, 3), and `proprio`, float32 (P,), where the model takes it.
        executed: what the robot executed between the session's previous frame and this one, oldest first, (n, a) in
            robot units. None stands for the first `replan_every` actions of the last reply.
        committed: what the robot will execute from this frame on until the new plan can take effect, (k, a); k may
            be 0. None is the same as no row.
        deadline_ms: how long planning may take; None for as long as it takes.
        epoch: of the goal; the reply carries it back.

    Raises:
        ValueError: if executed or committed is not a table with one row a robot step, or the deadline is negative.
    """

    observation: Mapping[str, NDArray[Any]]
    executed: NDArray[np.float32] | None = None
    committed: NDArray[np.float32] | None = None
    deadline_ms: float | None = None
    epoch: int = 0

    def __post_init__(self) -> None:
        for name in ("executed", "committed"):
            value = getattr(self, name)
            if value is None:
                continue
            table = np.asarray(value, np.float32)
            if table.ndim != 2:
                raise ValueError(f"{name} must have shape (robot steps, numbers in an action), got {table.shape}")
            object.__setattr__(self, name, table)
        if self.deadline_ms is not None and not self.deadline_ms >= 0:
            raise ValueError(f"deadline_ms must be at least 0, got {self.deadline_ms}")


@dataclass(frozen=True, eq=False)
class PlanReply:
    """What was planned for one request.

    Attributes:
        actions: one row a robot step, from the end of the request's `committed` on, (N, a) in robot units.
        epoch: the request's.
        cost: of the plan; +inf where no candidate had a finite one, so that the plan before was kept.
        plan_ms: from the request to the reply, in the planner's process.
        surprise: how badly the model predicted this frame from one an action_block ago and what was executed since,
            standardised on held-out data; None where the history is too short.
        feasible: whether the plan keeps its hard constraints.
    """

    actions: NDArray[np.float32]
    epoch: int
    cost: float
    plan_ms: float
    surprise: float | None = None
    feasible: bool = True
