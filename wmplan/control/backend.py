"""What the control loop asks of a planner and what comes back, wherever the planner runs. Needs numpy alone."""

from __future__ import annotations

from typing import Protocol

from wmplan.client.plan_request import Goal, PlanReply, PlanRequest

__all__ = ["Backend", "Goal", "PlanReply", "PlanRequest"]


class Backend(Protocol):
    """A planner for one robot, here or behind a connection. An exception of any call means that there is no answer."""

    def set_goal(self, goal: Goal) -> None:
        """Head for another goal; what was seen so far stays."""

    def reset(self, seed: int) -> None:
        """Forget what was seen and done, and draw random numbers from this seed on."""

    def plan(self, request: PlanRequest) -> PlanReply:
        """Plan from the request's frame; may take long."""
        ...
