"""The planning core: from latents of what a robot sees and of its goal to a plan. All loops plan through one.

A hierarchy, an ensemble or a learned policy is another implementation. `@wmplan.register_core("mine")` on a class or
function `make(model, settings) -> PlanningCore` lets schedule.core=mine choose it; `settings` are those of
planning_settings(), of which it takes what it wants.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmplan.models.base import WorldModel
from wmplan.planning.cost import LatentCost
from wmplan.planning.objectives.distances import LatentDistance, Objective
from wmplan.planning.planner import Plan
from wmplan.registry import CORES
from wmplan.settings.build import build


@dataclass(frozen=True, eq=False)
class PlanningQuery:
    """What one robot's plan is made from.

    Attributes:
        context: latents of the last T frames, a model step apart, newest last: (T, *latent).
        past_actions: executed between them, (T - 1, A); None where T is 1.
        goal: latent of the goal, (*latent,).
        elapsed: robot steps since the robot set out for its goal.
        committed: what the robot executes first, whatever is planned: (k, a), maybe of no row.
        last_action: what the robot was sent last, (a,): the first action changes from there.
        max_change: by how much each number of the action may change in one robot step; None for any change.
        generator: the robot's own random numbers: a plan that takes them from here does not depend on its batch.
        deadline_ms: how long planning may take, from the call on; None for as long as it takes.
        memory: what the core's last plan for this robot left; None at the first plan for a goal.
        since: robot steps executed since the frame of that plan.
        objective: of this goal, in place of the core's own: a goal of the robot's state alone has one. None for that.
    """

    context: Tensor
    past_actions: Tensor | None
    goal: Tensor
    elapsed: int
    committed: NDArray[np.float32]
    last_action: NDArray[np.float32]
    max_change: tuple[float, ...] | None
    generator: torch.Generator
    deadline_ms: float | None = None
    memory: Any = None
    since: int = 0
    objective: Objective | None = None


@dataclass(frozen=True, eq=False)
class RobotPlan:
    """A plan for one robot.

    Attributes:
        actions: one row a robot step, in robot units, from the newest frame on: the committed ones, then at least
            one more; (N, a).
        cost: lower is better; +inf where nothing better than the last plan was found.
        feasible: whether it keeps its hard constraints.
        memory: for the robot's next query; never changed in place.
    """

    actions: NDArray[np.float32]
    cost: float = 0.0
    feasible: bool = True
    memory: Any = None


class Search(NamedTuple):
    """One search, for diagnosis.

    Attributes:
        cost: what was minimised.
        plan: what was found, for B robots.
    """

    cost: LatentCost
    plan: Plan


class PlanningCore(ABC):
    """Plans for robots that share a world model.

    Attributes:
        horizon: model steps that a plan has at most, unless more is committed.
        objective: how far a latent is from the goal's, which tells when a robot has to set out anew; see
            wmplan.control.arrival.
        seed: of robots whose seed nobody gives.
        searches: those of the newest plan(); empty for a core that does not search.
    """

    horizon: int
    objective: Objective = LatentDistance()
    seed: int = 0
    searches: Sequence[Search] = ()

    @abstractmethod
    def plan(self, queries: Sequence[PlanningQuery]) -> list[RobotPlan]:
        """A plan for each query. No plan depends on the other queries, but for rounding and the earliest deadline."""


def make_core(model: WorldModel, settings: Mapping[str, Mapping[str, Any]]) -> PlanningCore:
    """The core that settings["schedule"]["core"] names.

    Args:
        settings: all of planning_settings().

    Raises:
        UserError: if there is no such core.
        ValueError: naming the setting that is wrong.
    """
    from wmplan.control.schedule import Schedule

    return CORES[build(Schedule, settings["schedule"], "schedule").core](model, settings)
