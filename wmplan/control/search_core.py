"""The core that searches: a planner minimises the cost of latents that the model predicts for candidates."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmplan.control.planning_core import PlanningCore, PlanningQuery, RobotPlan, Search
from wmplan.control.schedule import Schedule
from wmplan.device import upload
from wmplan.malloc import keep_freed_memory
from wmplan.models.base import WorldModel
from wmplan.models.compiled import compile_rollouts
from wmplan.planning.constraints import FrozenPrefix, Projection, RateLimit
from wmplan.planning.cost import LatentCost, reads_between_model_steps
from wmplan.planning.objectives.distances import Objective
from wmplan.planning.objectives.registry import make_objective
from wmplan.planning.plan_arguments import environment_generators
from wmplan.planning.planner import Planner
from wmplan.planning.registry import make_planner
from wmplan.planning.warm_start import WarmStart
from wmplan.registry import register_core
from wmplan.settings.build import build

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class _Task:
    """One query, with how far its search looks.

    Attributes:
        memory: what the search before left, as it stood then.
        clock: robot steps of absolute time by now, at which the knots of splines stand; see WarmStart.
        arrival: model step at which the goal should be reached.
        horizon: model steps of the plan: at least one is not committed; beyond its arrival it keeps to the goal.
        kind: queries of one kind are planned in one search.
    """

    query: PlanningQuery
    memory: WarmStart
    clock: int
    arrival: float
    horizon: int
    kind: Hashable


class SearchCore(PlanningCore):
    """A planner over the latent cost under a world model.

    Args:
        model: what predicts.
        planner: what searches; its bounds are those of one model step.
        objective: cost of predicted latents.
        schedule: when plans are to arrive, and how the model is corrected.

    Attributes:
        listener: is told of every search, which then keeps all its candidates; for diagnosis.
    """

    def __init__(self, model: WorldModel, planner: Planner, objective: Objective, schedule: Schedule) -> None:
        self.model, self.planner, self.objective, self.schedule = model, planner, objective, schedule
        self.horizon, self.seed = planner.config.horizon, planner.config.seed
        self.listener: Callable[[Search], None] | None = None

    def plan(self, queries: Sequence[PlanningQuery]) -> list[RobotPlan]:
        """Those that look equally far from equally many frames are planned in one search."""
        began = time.perf_counter()
        found: dict[int, RobotPlan] = {}
        searches: list[Search] = []
        for group in grouped([self._task(query) for query in queries], lambda one: one.kind):
            search, plans = self._search(group, began)
            searches.append(search)
            found |= {id(one.query): plan for one, plan in zip(group, plans, strict=True)}
        self.searches = searches
        return [found[id(query)] for query in queries]

    def search(self, cost: LatentCost, **options: Any) -> Search:
        """One search, with what Planner.plan() takes."""
        found = Search(cost, self.planner.plan(cost, record=self.listener is not None, **options))
        if self.listener is not None:
            self.listener(found)
        return found

    def _task(self, query: PlanningQuery) -> _Task:
        spec, config = self.model.spec, self.planner.config
        between = reads_between_model_steps(self.model, query.objective or self.objective)
        times = query.elapsed, spec.action_block, config.horizon, between
        arrival = self.schedule.arrival(*times)
        needed = -(-(len(query.committed) + spec.action_block) // spec.action_block)
        horizon = max(self.schedule.horizon(*times), needed)
        memory = WarmStart() if query.memory is None else query.memory
        clock = 0 if query.memory is None else memory.clock + query.since
        phase = 0 if config.parameterization in ("free", "held") else clock % config.knot_spacing
        start = memory.actions is None, memory.elites is None, phase
        own = None if query.objective is None else id(query.objective)
        kind = len(query.context), arrival, horizon, start, query.max_change, own
        return _Task(query, memory, clock, arrival, horizon, kind)

    def _search(self, tasks: Sequence[_Task], began: float) -> tuple[Search, list[RobotPlan]]:
        """One search for tasks of the same kind."""
        spec, first, queries = self.model.spec, tasks[0], [one.query for one in tasks]
        context, past, goal = stacked(queries)
        cost = LatentCost(
            self.model,
            queries[0].objective or self.objective,
            context,
            goal,
            past_actions=past,
            correction=self.schedule.correction,
            arrival=first.arrival if first.arrival < first.horizon else None,
            executed=torch.tensor([self._executed(query) for query in queries]),
        )
        deadlines = [query.deadline_ms for query in queries if query.deadline_ms is not None]
        self.planner.warm_start = self._warm_start(tasks)
        search = self.search(
            cost,
            nominal=self._begin(len(tasks)) if first.memory.actions is None and spec.action_kinds else None,
            generators=[query.generator for query in queries],
            horizon=first.horizon,
            elapsed=None if first.memory.actions is None else 0,
            deadline_ms=max(0.0, min(deadlines) - 1e3 * (time.perf_counter() - began)) if deadlines else None,
            constraints=self._constraints(queries, context.device),
        )
        plan, left = search.plan, self.planner.warm_start
        # In memory of their own: whoever reads the search may scale its plan in place.
        actions = plan.actions.reshape(len(tasks), -1, spec.action_dim).cpu().numpy().copy()
        costs, feasible = plan.cost.tolist(), plan.diagnostics["feasible"].tolist()
        memories = [replace(left.row(row), clock=one.clock) for row, one in enumerate(tasks)]
        return search, [RobotPlan(*row) for row in zip(actions, costs, feasible, memories, strict=True)]

    def _begin(self, robots: int) -> Tensor:
        """Where searches begin that no plan went before, (B, 1, A)."""
        spec = self.model.spec
        return torch.tensor(spec.neutral_action, device=self.model.device).repeat(robots, 1, spec.action_block)

    def _executed(self, query: PlanningQuery) -> float:
        """Model steps that the robot executes before the plan after this one."""
        block = self.model.spec.action_block
        return (len(query.committed) + (self.schedule.replan_every or block)) / block

    def _warm_start(self, tasks: Sequence[_Task]) -> WarmStart:
        """What the searches before left, as it stands now; in one go for robots in step, as a controller's are."""

        def now(memories: Sequence[WarmStart], task: _Task) -> WarmStart:
            width = self.model.spec.action_dim
            return WarmStart.stacked(memories).shifted(task.query.since, width).fitted(task.horizon, width)

        memories = [one.memory for one in tasks]
        lengths = {0 if one.actions is None else one.actions.shape[1] for one in memories}
        if len(lengths) == 1 and len({one.query.since for one in tasks}) == 1:
            return now(memories, tasks[0])
        return WarmStart.stacked([now([one.memory], one) for one in tasks])

    def _constraints(self, queries: Sequence[PlanningQuery], device: torch.device) -> list[Projection]:
        """What the plans keep to: the model's own limits, the committed actions, the rate of change."""
        found = list(self.model.projections)
        counts = [len(query.committed) for query in queries]
        if max(counts):
            committed = torch.zeros(len(queries), max(counts), self.model.spec.action_dim)
            for row, query in zip(committed, queries, strict=True):
                row[: len(query.committed)] = torch.from_numpy(query.committed)
            found.append(FrozenPrefix(upload(committed, device), upload(torch.tensor(counts), device)))
        if (change := queries[0].max_change) is not None:
            last: NDArray[np.float32] = np.stack([query.last_action for query in queries])
            found.append(RateLimit(change, upload(torch.from_numpy(last), device)))
        return found


@register_core("search")
def make_search(model: WorldModel, settings: Mapping[str, Mapping[str, Any]]) -> SearchCore:
    """The planner, objective and schedule of planning_settings()."""
    if model.device.type == "cpu":
        keep_freed_memory()  # or the thousands of candidates of a first plan are cleared page by page, every time
    low, high = model.spec.block_bounds()
    block = model.spec.action_block
    planner = make_planner(low=low, high=high, action_block=block, device=model.device, **settings["planner"])
    objective = make_objective(settings["objective"], model)
    fast = compile_rollouts(model, planner.config.compile)
    core = SearchCore(fast, planner, objective, build(Schedule, settings["schedule"], "schedule"))
    if fast is not model:
        warm_up(core)
    return core


def warm_up(core: SearchCore) -> None:
    """Plan once in every shape that plans will have, so that none of them waits for what is compiled.

    They differ in the frames of the context, in how far they look, and in whether a plan went before.
    """
    model, spec = core.model, core.model.spec
    low = torch.tensor(spec.action_low)
    generator = environment_generators([core.seed], model.device)[0]
    replan = core.schedule.replan_every or spec.action_block
    nothing: NDArray[np.float32] = np.zeros((0, spec.action_dim), np.float32)
    for frames in range(1, spec.history + 1):
        latents = torch.zeros(frames, *spec.latent_shape, device=model.device)
        past = low.repeat(frames - 1, spec.action_block).to(model.device) if frames > 1 else None
        for elapsed in range(0, max(1, core.schedule.arrival_step or 1), replan):
            first = PlanningQuery(latents, past, latents[0], elapsed, nothing, low.numpy(), None, generator)
            plan = core.plan([first])[0]
            core.plan([replace(first, memory=plan.memory, since=replan)])
    core.planner.forget()


def stacked(queries: Sequence[PlanningQuery]) -> tuple[Tensor, Tensor | None, Tensor]:
    """Context (B, T, *latent), past actions (B, T - 1, A), None if T is 1, and goals (B, *latent), T being one."""
    past = [query.past_actions for query in queries if query.past_actions is not None]
    context, goal = torch.stack([query.context for query in queries]), torch.stack([query.goal for query in queries])
    return context, torch.stack(past) if past else None, goal


def grouped(items: Sequence[T], key: Callable[[T], Hashable]) -> list[list[T]]:
    """The items in groups of the same key, in the order of each group's first."""
    groups: dict[Hashable, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())
