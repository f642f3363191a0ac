"""Receding-horizon planning: when to plan, how far to look, which action of a plan is due."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmplan.deprecated import SCHEDULE, renamed_arguments
from wmplan.errors import UserError
from wmplan.settings.build import convert_fields


@renamed_arguments(SCHEDULE)
@dataclass(frozen=True)
class Schedule:
    """When a controller plans, with what, how far it looks and how it corrects the model.

    Times are in robot steps, except where it says model steps.

    Attributes:
        replan_every: robot steps between two plans; None for one model step.
        arrival_step: robot steps after which the goal should be reached: the plan then ends there, its horizon
            shrinking as the time comes near. Where the model can only be read at model steps, it ends up to a model
            step earlier, and never less than a model step ahead. They count from a reset or a new goal, and anew where
            wmplan.control.arrival says so. None for the planner's own horizon all the time.
        min_horizon: model steps the plan keeps looking ahead, however near or past the arrival.
        correction: part of the model's newest error that plans take off its predictions, from 0 to 1; see LatentCost.
        core: what plans, "search" or the name of a registered one; see wmplan.control.planning_core.
    """

    replan_every: int | None = None
    arrival_step: int | None = None
    min_horizon: int = 1
    correction: float = 0.0
    core: str = "search"

    def __post_init__(self) -> None:
        convert_fields(self, "schedule")
        if not 0 <= self.correction <= 1:
            raise UserError(f"correction must be from 0 to 1, got {self.correction!r}")
        for name in ("replan_every", "arrival_step", "min_horizon"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} must be a whole number of at least 1, got {value!r}")

    def check(self, longest: int, action_block: int) -> None:
        """Raise a ValueError unless it suits plans of up to `longest` model steps."""
        if self.min_horizon > longest:
            raise UserError(f"min_horizon is {self.min_horizon}, the planner's horizon is {longest}")
        if (self.replan_every or 0) > longest * action_block:
            raise UserError(f"replan_every is {self.replan_every}, a plan has {longest} x {action_block} robot steps")

    def arrival(self, elapsed: int, action_block: int, longest: int, between: bool = False) -> float:
        """Model steps, at most `longest`, from here to where the goal should be reached, after `elapsed` robot steps.

        Args:
            between: whether it may lie between model steps. A robot that is late is then to arrive by its next plan: a
                plan that always ended a model step ahead would, made anew more often, put the arrival off for ever.
        """
        if self.arrival_step is None:
            return longest
        left = self.arrival_step - elapsed
        if between:
            soonest = min(self.replan_every or action_block, action_block)
            return min(max(left, soonest) / action_block, longest)
        return min(max(left // action_block, self.min_horizon), longest)  # rather early than late

    def horizon(self, elapsed: int, action_block: int, longest: int, between: bool = False) -> int:
        """Model steps to look ahead, at most `longest`; see arrival()."""
        return max(math.ceil(self.arrival(elapsed, action_block, longest, between)), self.min_horizon)

    def is_late(self, elapsed: int, action_block: int) -> bool:
        """Whether the goal should have been reached a model step ago or earlier: what is less is no delay."""
        return self.arrival_step is not None and elapsed >= self.arrival_step + action_block


class FollowedPlan:
    """One robot's plan, handed out one robot step at a time.

    Args:
        actions: one row a robot step, (N, a).
        replan_after: robot steps after which the next plan is due; earlier where the plan ends earlier.
    """

    def __init__(self, actions: NDArray[np.float32], replan_after: int) -> None:
        self.actions, self.length, self.step = actions, min(replan_after, len(actions)), 0

    @property
    def is_over(self) -> bool:
        """Whether this robot step needs a new plan."""
        return self.step >= self.length

    def next_action(self) -> NDArray[np.float32]:
        """The action (a,) of this robot step; time then moves on."""
        self.step += 1
        return self.actions[self.step - 1]
