"""A planner for a robot that asks when it can: its goal, history and random numbers, planned alone or with others."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmplan.control.arrival import Approach, continued
from wmplan.control.backend import Goal, PlanReply, PlanRequest
from wmplan.control.frame_history import FrameHistory, Moment, encode_together
from wmplan.control.history import encode, read_observation
from wmplan.control.make import planner_from, planning_settings
from wmplan.control.safety.limits import Limits
from wmplan.control.schedule import Schedule
from wmplan.control.surprise import surprise
from wmplan.models.base import WorldModel
from wmplan.planning.constraints import FrozenPrefix, Projection, RateLimit
from wmplan.planning.cost import LatentCost, reads_between_model_steps
from wmplan.planning.objectives.registry import make_objective
from wmplan.planning.planner import environment_generators
from wmplan.planning.warm_start import WarmStart
from wmplan.settings.build import build


@dataclass(frozen=True)
class _Prepared:
    """One session's part in a batch."""

    session: PlanningSession
    request: PlanRequest
    history: FrameHistory
    context: list[Moment]
    before: list[Moment]  # the context of one model step ago; empty where there is none
    committed: NDArray[np.float32]  # (k, a)
    last: WarmStart  # what the search before left, as it stands now
    approach: Approach

    @property
    def times(self) -> tuple[int, int, int, bool]:
        """What the schedule wants to know."""
        session = self.session
        between = reads_between_model_steps(session.model, session.objective)
        return self.approach.elapsed, session.model.spec.action_block, session.planner.config.horizon, between

    @cached_property
    def arrival(self) -> float:
        """Model step at which the goal should be reached."""
        return self.session.schedule.arrival(*self.times)

    @cached_property
    def horizon(self) -> int:
        """Model steps of the plan: at least one is not committed; beyond its arrival it keeps to the goal."""
        block = self.session.model.spec.action_block
        return max(self.session.schedule.horizon(*self.times), -(-(len(self.committed) + block) // block))

    @cached_property
    def warm(self) -> WarmStart:
        """What the search starts from."""
        return self.last.fitted(self.horizon, self.session.model.spec.action_dim)

    @property
    def inputs(self) -> Hashable:
        """Sessions of the same can be given to the model together."""
        return self.session.settings, len(self.context)

    @property
    def kind(self) -> Hashable:
        """Sessions of the same kind can be planned in one search."""
        config = self.session.planner.config
        phase = 0 if config.parameterization in ("free", "held") else self.warm.clock % config.knot_spacing
        warm = (self.warm.actions is not None, self.warm.elites is not None)
        return self.inputs, self.arrival, self.horizon, phase, warm


class PlanningSession:
    """Plans for one robot, from frames at whatever robot steps they come. Calls may come from several threads.

    A call that raises leaves the session as it was.

    Args:
        model: what encodes and predicts; several sessions may share it.
        planner, objective, schedule: settings as make_controller() takes them. Of the schedule, `receding_horizon`
            says what an `executed` of None stands for.
        limits: whose max_change plans keep to; None for none.
        seed: for the random numbers until reset(seed).
    """

    def __init__(
        self,
        model: WorldModel,
        planner: Mapping[str, Any] | None = None,
        objective: Mapping[str, Any] | None = None,
        schedule: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        seed: int = 0,
    ) -> None:
        settings = planning_settings(model, planner, objective, schedule)
        self.model, self.limits = model.eval(), limits
        self.planner = planner_from(settings["planner"], model)
        self.objective = make_objective(settings["objective"], model)
        self.schedule = build(Schedule, settings["schedule"], "schedule")
        self.schedule.check(self.planner.config.horizon, model.spec.action_block)
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        change = None if limits is None else limits.max_change
        self.settings: Hashable = (id(model), json.dumps(settings, sort_keys=True, default=repr), change)
        self.lock = threading.RLock()
        self.goal: Tensor | None = None
        self._approach: Approach | None  # up to the newest frame; None before the first with this goal
        self.reset(seed)

    @property
    def receding_horizon(self) -> int:
        """Robot steps of a plan that are executed where a request does not say."""
        return self.schedule.receding_horizon or self.model.spec.action_block

    def set_goal(self, goal: Goal) -> None:
        """Head for another goal; what was seen and done so far stays known.

        Raises:
            ValueError: if it is not what the model takes.
        """
        seen, batched = read_observation(goal, self.model, self.device)
        if batched:
            raise ValueError("the goal has a batch axis, a session is of one robot: give frames of shape (H, W, 3)")
        latent = encode(self.model, seen)
        with self.lock:
            self.goal, self._warm, self._approach = latent, WarmStart(), None

    def reset(self, seed: int = 0) -> None:
        """Forget what was seen and done; the goal stays, and is headed for as at first."""
        with self.lock:
            self.generator = environment_generators([seed], self.device)[0]
            self._history = FrameHistory(self.model.spec)
            self._warm, self._approach = WarmStart(), None
            self._told = np.zeros((0, self.model.spec.action_dim), np.float32)

    def plan(self, request: PlanRequest) -> PlanReply:
        """Plan from the request's frame.

        Raises:
            ValueError: if something in the request is not what the model takes.
            RuntimeError: before the first set_goal().
        """
        return plan_batch([self], [request])[0]

    # ------------------------------------------------------------------ parts of plan_batch

    def prepare(self, request: PlanRequest) -> _Prepared:
        """What the request comes to; changes nothing."""
        if self.goal is None:
            raise RuntimeError("the session has no goal: call set_goal(goal) first")
        spec = self.model.spec
        seen, batched = read_observation(request.observation, self.model, self.device)
        if batched:
            raise ValueError("the observation has a batch axis, a session is of one robot")
        executed = self._told if request.executed is None else self._actions("executed", request.executed)
        committed = self._actions("committed", request.committed)
        longest = self.planner.config.horizon * spec.action_block
        if len(committed) >= longest:
            raise ValueError(f"committed has {len(committed)} robot steps, a plan has {longest} and has to end later")
        if not self._history.frames:
            executed = executed[:0]
        history = self._history.extended(seen, torch.from_numpy(executed).to(self.device))
        approach = Approach() if self._approach is None else self._approach.later(len(executed))
        last = self._warm.shifted(len(executed), spec.action_dim)
        before = history.context(spec.action_block) if getattr(self.model, "error_scale", None) is not None else []
        if before and before[-1].share:
            before = []  # an interpolated start would add its own error
        return _Prepared(self, request, history, history.context(), before, committed, last, approach)

    def commit(self, done: _Prepared, actions: NDArray[np.float32], warm: WarmStart) -> None:
        """Remember what was planned for, and the plan (H * block, a)."""
        self._history, self._approach = done.history, done.approach
        self._warm = WarmStart(warm.actions, warm.elites, done.warm.clock)
        self._told = actions[: len(done.committed) + self.receding_horizon]

    def _actions(self, name: str, given: NDArray[np.float32] | None) -> NDArray[np.float32]:
        width = self.model.spec.action_dim
        if given is None:
            return np.zeros((0, width), np.float32)
        if given.shape[1] != width or not np.isfinite(given).all():
            wrong = f"has {given.shape[1]} numbers a row" if given.shape[1] != width else "holds numbers not finite"
            raise ValueError(f"{name} {wrong}, it has to be a finite table of {width}")
        return np.array(given, np.float32)


def plan_batch(sessions: Sequence[PlanningSession], requests: Sequence[PlanRequest]) -> list[PlanReply]:
    """Plan one request for each of several sessions, together where model, settings and horizon agree.

    No reply depends on the others but for the last digits of floating-point sums, and for a deadline, which is the
    earliest in a batch.

    Raises:
        ValueError, RuntimeError: as PlanningSession.plan(); then no session has changed.
    """
    began = time.perf_counter()
    if len(sessions) != len(requests) or len({id(one) for one in sessions}) != len(sessions):
        raise ValueError(f"there are {len(requests)} requests for {len(sessions)} sessions, which have to be different")
    with ExitStack() as stack:
        for session in sorted(sessions, key=id):
            stack.enter_context(session.lock)
        prepared = [session.prepare(request) for session, request in zip(sessions, requests, strict=True)]
        for model in {id(one.model): one.model for one in sessions}.values():
            mine = [one for one in prepared if one.session.model is model]
            encode_together(model, [moment for one in mine for moment in (*one.context, *one.before)])
        replies: dict[int, PlanReply] = {}
        prepared = _continued(prepared)
        found = [(group, _search(group, began)) for group in _grouped(prepared, lambda one: one.kind)]
        for group, results in found:
            for one, (actions, cost, feasible, _) in zip(group, results, strict=True):
                rest = actions[len(one.committed) :].copy()
                spent = 1e3 * (time.perf_counter() - began)
                reply = PlanReply(rest, one.request.epoch, cost, spent, _surprise(one), feasible)
                replies[id(one.session)] = reply
        for group, results in found:
            for one, (actions, _, _, warm) in zip(group, results, strict=True):
                one.session.commit(one, actions, warm)
    return [replies[id(session)] for session in sessions]


Result = tuple[NDArray[np.float32], float, bool, WarmStart]
"""Actions (H * block, a), their cost, whether they keep the hard constraints, and what the next search starts from."""


def _grouped(prepared: list[_Prepared], key: Callable[[_Prepared], Hashable]) -> list[list[_Prepared]]:
    """The sessions in groups of the same key."""
    groups: dict[Hashable, list[_Prepared]] = {}
    for one in prepared:
        groups.setdefault(key(one), []).append(one)
    return list(groups.values())


def _inputs(group: list[_Prepared]) -> tuple[Tensor, Tensor | None, Tensor]:
    """Context latents (B, T, *latent), the actions executed between (B, T - 1, A), None if T is 1, and goal latents."""
    steps = (len(group[0].context) - 1) * group[0].session.model.spec.action_block
    context = torch.stack([torch.cat([moment.latent for moment in one.context]) for one in group])
    past = torch.stack([one.history.executed(steps) for one in group]) if steps else None
    return context, past, torch.cat([one.session.goal for one in group if one.session.goal is not None])


def _continued(prepared: list[_Prepared]) -> list[_Prepared]:
    """The same, with what their frames say of their approaches."""
    found: dict[int, _Prepared] = {}
    for group in _grouped(prepared, lambda one: one.inputs):
        first, (context, past, goal) = group[0].session, _inputs(group)
        so_far = [one.approach for one in group]
        approaches = continued(first.model, first.objective, first.schedule, context, past, goal, so_far)
        found |= {id(one): replace(one, approach=now) for one, now in zip(group, approaches, strict=True)}
    return [found[id(one)] for one in prepared]


def _search(group: list[_Prepared], began: float) -> list[Result]:
    """One search for prepared sessions of the same kind."""
    first, sessions = group[0].session, [one.session for one in group]
    spec, (context, past, goal) = first.model.spec, _inputs(group)
    correction = first.schedule.correction
    cost = LatentCost(
        first.model,
        first.objective,
        context,
        goal,
        past_actions=past,
        correction=correction,
        arrival=group[0].arrival,
    )
    deadlines = [one.request.deadline_ms for one in group if one.request.deadline_ms is not None]
    left = max(0.0, min(deadlines) - 1e3 * (time.perf_counter() - began)) if deadlines else None
    planner = first.planner
    is_new = group[0].warm.actions is None
    planner.warm_start = WarmStart.stacked([one.warm for one in group])
    plan = planner.plan(
        cost,
        generators=[session.generator for session in sessions],
        horizon=group[0].horizon,
        elapsed=None if is_new else 0,
        deadline_ms=left,
        constraints=_constraints(group),
    )
    flat = plan.actions.reshape(len(group), -1, spec.action_dim).cpu().numpy()
    feasible = plan.diagnostics["feasible"].tolist()
    costs = plan.cost.tolist()
    return [(flat[i], costs[i], feasible[i], planner.warm_start.row(i)) for i in range(len(group))]


def _constraints(group: list[_Prepared]) -> list[Projection]:
    """What the plans keep to: the committed actions, and the rate at which actions may change."""
    session, found = group[0].session, []  # type: PlanningSession, list[Projection]
    counts = [len(one.committed) for one in group]
    if max(counts):
        committed = torch.zeros(len(group), max(counts), session.model.spec.action_dim, device=session.device)
        for row, one in zip(committed, group, strict=True):
            row[: len(one.committed)] = torch.from_numpy(one.committed)
        found.append(FrozenPrefix(committed, torch.tensor(counts, device=session.device)))
    if session.limits is not None and session.limits.max_change is not None:
        last = torch.stack([_before(one, session.limits) for one in group])
        found.append(RateLimit(session.limits.max_change, last))
    return found


def _before(one: _Prepared, limits: Limits) -> Tensor:
    """The action (a,) that a robot's next is near: the last executed, or where none is known the first committed."""
    if one.history.actions is not None and len(one.history.actions):
        return one.history.actions[-1]
    known = one.committed[0] if len(one.committed) else limits.rest_action()
    return torch.from_numpy(known).to(one.session.device)


def _surprise(one: _Prepared) -> float | None:
    """How badly the newest frame was predicted from one model step ago."""
    if not one.before:
        return None
    block = one.session.model.spec.action_block
    context = torch.cat([moment.latent for moment in one.before])[None]  # (1, T, *latent)
    steps = (len(one.before) - 1) * block
    past = one.history.executed(steps, back=block)[None] if steps else None
    value = surprise(one.session.model, context, one.history.executed(block), one.context[-1].latent, past)
    return None if value is None else float(value[0])
