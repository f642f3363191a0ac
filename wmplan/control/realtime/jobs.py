"""What the control loop has for its planner to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from wmplan.control.backend import Backend, Goal, PlanRequest


@dataclass(frozen=True, eq=False)
class Command:
    """A reset (with a seed) or a goal that the planner has to be told before it plans again."""

    epoch: int
    seed: int | None = None
    goal: Goal | None = None

    def tell(self, backend: Backend) -> None:
        """Do it; may take long, and raise."""
        if self.seed is not None:
            backend.reset(self.seed)
        if self.goal is not None:
            backend.set_goal(self.goal)


@dataclass(frozen=True, eq=False)
class Frame:
    """An observation that may be planned from, of the beginning of robot step `step`."""

    observation: Mapping[str, NDArray[Any]]
    captured_at: float
    step: int


@dataclass(frozen=True, eq=False)
class PlanJob:
    """A request, and what its reply will mean."""

    epoch: int
    life: int  # of what the planner knows of the past
    request: PlanRequest
    frame: Frame
    begin: int | None  # robot step of the reply's first action; None for the one at which it arrives
    began: float
