"""Why a control loop does not follow a plan, in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Reason:
    """What keeps a loop from following a plan; None for nothing.

    Attributes:
        state: what led to the present state.
        observation: why the newest observation was refused.
        goal: why the planner did not take the goal or the reset.
        plan: why the newest plan was refused, or what the planner raised instead.
        work: that the planner has been at one job for long.
        rate: that act() is called at another rate than was told.
    """

    state: str | None = None
    observation: str | None = None
    goal: str | None = None
    plan: str | None = None
    work: str | None = None
    rate: str | None = None

    def causes(self) -> list[str]:
        """What may have led to the lack of a plan, in the order of its path."""
        return [cause for cause in (self.rate, self.observation, self.goal, self.plan, self.work) if cause is not None]

    def __str__(self) -> str:
        return "; ".join([*([] if self.state is None else [self.state]), *self.causes()])
