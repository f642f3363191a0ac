"""A planner for a robot that asks when it can: its goal, history and random numbers, planned alone or with others."""

from __future__ import annotations

import json
import threading
import time
import warnings
from collections.abc import Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmplan.control.arrival import Approach, continued
from wmplan.control.backend import Goal, PlanReply, PlanRequest
from wmplan.control.goals import Pursuit, Target, aims, read_goals, towards
from wmplan.control.histories import (
    FrameHistory,
    Moment,
    Observation,
    StepObservation,
    encode_together,
    read_observation,
)
from wmplan.control.planning_core import PlanningCore, PlanningQuery, RobotPlan, make_core
from wmplan.control.recording import Recording
from wmplan.control.resting import is_there, resting_plan
from wmplan.control.safety.limits import Limits
from wmplan.control.schedule import Schedule
from wmplan.control.search_core import grouped, stacked
from wmplan.control.settings import Choice, planning_settings
from wmplan.control.surprise import surprise
from wmplan.device import upload
from wmplan.errors import NotPossibleError, UserError
from wmplan.models.base import WorldModel
from wmplan.planning.objectives.objective import Objective
from wmplan.planning.planner import environment_generators
from wmplan.settings.build import build


@dataclass(eq=False)
class _Prepared:
    """One session's part in a batch; its approach is set once its frames are encoded."""

    session: PlanningSession
    pursuit: Pursuit
    history: FrameHistory
    context: list[Moment]
    before: list[Moment]  # the context of one model step ago; empty where there is none
    executed: NDArray[np.float32] | None  # (n, a), before a frame that came with the request
    committed: NDArray[np.float32]  # (k, a)
    approach: Approach
    since: int  # robot steps since the frame of the last plan
    deadline_ms: float | None = None
    epoch: int = 0
    sets_out: bool = False  # anew, so that the plan before is no start
    goal: Tensor | None = None  # (*latent,), once the frames are encoded
    target: Target | None = None

    @property
    def inputs(self) -> Hashable:
        """Sessions of the same can be given to the model together."""
        own = None if self.objective is None else id(self.objective)
        return self.session.together, len(self.context), own

    @property
    def objective(self) -> Objective | None:
        """Of the goal, in place of the core's."""
        return None if self.target is None else self.target.objective

    @cached_property
    def latents(self) -> Tensor:
        """Of the context, (T, *latent); the frames have to be encoded."""
        return torch.cat([moment.latent for moment in self.context])

    @cached_property
    def past_actions(self) -> Tensor | None:
        """What was executed between the context's frames, (T - 1, A); None where T is 1."""
        steps = (len(self.context) - 1) * self.session.model.spec.action_block
        return upload(torch.from_numpy(self.history.executed(steps)), self.session.device) if steps else None

    @cached_property
    def rests(self) -> bool:
        """Whether nothing is left to do; the frames have to be encoded."""
        assert self.goal is not None
        return is_there(self.session.model, self.objective, self.latents[-1], self.goal)

    def rest(self) -> RobotPlan:
        """The plan of a robot that rests."""
        session = self.session
        return resting_plan(self.query(0.0), session.limits, session.core.horizon * session.model.spec.action_block)

    def query(self, spent_ms: float) -> PlanningQuery:
        """What the core is asked, so many milliseconds after the request came; the frames have to be encoded."""
        session, limits = self.session, self.session.limits
        assert self.goal is not None
        return PlanningQuery(
            self.latents,
            self.past_actions,
            self.goal,
            self.approach.elapsed,
            self.committed,
            session.last_action(self.history, self.committed),
            None if limits.max_change is None else tuple(limits.max_change),
            session.generator,
            None if self.deadline_ms is None else max(0.0, self.deadline_ms - spent_ms),
            None if self.sets_out else session.memory,  # the old plan led astray
            self.since,
            self.objective,
        )


class PlanningSession:
    """Plans for one robot, from frames at whatever robot steps they come. Calls may come from several threads.

    A call that raises leaves the session as it was.

    Args:
        model: what encodes and predicts; several sessions may share it.
        planner, objective, schedule: settings as make_controller() takes them. Of the schedule, `replan_every`
            says what an `executed` of None stands for. A Schedule is taken as it is, without what the model's card
            recommends.
        limits: whose max_change plans keep to; None for none.
        seed: for the random numbers until reset(seed).
        core: what plans, shared with other sessions, in place of what the settings say.
        tells_surprise: whether replies hold the surprise, which costs a prediction.
        recording: where what is seen and done is written, of a Recorder; an episode ends at a reset or another goal.

    Attributes:
        approach: the robot's way to its goal up to the newest frame; None before it was first planned.
        memory: what the core left for its next plan.
    """

    def __init__(
        self,
        model: WorldModel,
        planner: Choice | None = None,
        objective: Choice | None = None,
        schedule: Choice | Schedule | None = None,
        limits: Limits | None = None,
        seed: int = 0,
        *,
        core: PlanningCore | None = None,
        tells_surprise: bool = True,
        recording: Recording | None = None,
    ) -> None:
        spec = model.spec
        settings = planning_settings(model, planner, objective, None if isinstance(schedule, Schedule) else schedule)
        self.model, self.limits = model.eval(), (limits or Limits.of(spec)).knowing(spec)
        self.schedule = (
            schedule if isinstance(schedule, Schedule) else build(Schedule, settings["schedule"], "schedule")
        )
        self.core = core or make_core(model, settings)
        self.schedule.check(self.core.horizon, spec.action_block)
        self.device = model.device
        same = json.dumps(settings, sort_keys=True, default=repr) if core is None else id(core)
        self.together: Hashable = (id(model), same)
        self.tells_surprise = tells_surprise and model.error_scale is not None
        self.recording = recording
        self.lock = threading.RLock()
        self.pursuit: Pursuit | None = None
        self.goal: Tensor | None = None  # (1, *latent); None too before the first plan for what depends on the frame
        self.memory: Any
        self.approach: Approach | None
        self.reset(seed)

    @property
    def replan_every(self) -> int:
        """Robot steps of a plan that are executed where a request does not say."""
        return self.schedule.replan_every or self.model.spec.action_block

    def set_goal(self, goal: Goal) -> None:
        """Head for another goal, an image or a declared one; what was seen and done so far stays known.

        Raises:
            ValueError: if it is not what the model takes.
        """
        pursuits, batched = read_goals(goal, self.model, self.core.objective)
        if batched:
            raise UserError("the goal has a batch axis, a session is of one robot: give frames of shape (H, W, 3)")
        self.pursue(pursuits[0])

    def head_for(self, goal: Tensor) -> None:
        """set_goal() with a latent, (1, *latent)."""
        self.pursue(towards(goal))

    def pursue(self, pursuit: Pursuit) -> None:
        """set_goal() with what was read of it."""
        with self.lock:
            self.pursuit, self.goal, self.memory, self.approach = pursuit, pursuit.latent, None, None
            self.end_recording()

    def reset(self, seed: int = 0, last_action: NDArray[np.float32] | None = None) -> None:
        """Forget what was seen and done; the goal stays, and is headed for as at first.

        Args:
            last_action: what the robot was sent last, (a,), where it is known to be in motion.
        """
        with self.lock:
            self.generator = environment_generators([seed], self.device)[0]
            self._history = FrameHistory.empty(self.model.spec)
            self.memory, self.approach = None, None
            if self.pursuit is not None:
                self.pursuit = self.pursuit.anew()
                self.goal = self.pursuit.latent
            self._since, self._told, self._sent = 0, self._history.actions, last_action
            self.end_recording()

    def end_recording(self) -> None:
        """What is seen from here on is another episode of the recording, if there is one."""
        if self.recording is not None:
            self.recording.end()

    def observe(self, observation: Observation | StepObservation, executed: NDArray[np.float32]) -> None:
        """Remember a frame, after `executed` (n, a) robot steps, without planning from it.

        Raises:
            ValueError: as plan().
        """
        with self.lock:
            actions = self._actions("executed", executed)
            history, done = self._extended(observation, actions)
            self._record(history, actions)
            self._history, self._since = history, self._since + done
            self.approach = None if self.approach is None else self.approach.later(done)
            self.pursuit = None if self.pursuit is None else self.pursuit.later(done)
            self._told = self._told[done:]

    def plan(self, request: PlanRequest | None = None) -> PlanReply:
        """Plan from the request's frame, or from the one that was observed last.

        Raises:
            ValueError: if something in the request is not what the model takes.
            RuntimeError: before the first set_goal(), or before the first frame.
        """
        return plan_batch([self], [request])[0]

    # ------------------------------------------------------------------ parts of plan_batch

    def prepare(self, request: PlanRequest | None) -> _Prepared:
        """What the request comes to; changes nothing."""
        if self.pursuit is None:
            raise NotPossibleError("the session has no goal: call set_goal(goal) first")
        history, done, committed, executed = self._history, 0, self._told[:0], None
        if request is not None:
            executed = self._told if request.executed is None else self._actions("executed", request.executed)
            committed = self._actions("committed", request.committed)
            history, done = self._extended(request.observation, executed)
        longest = self.core.horizon * self.model.spec.action_block
        if len(committed) >= longest:
            raise UserError(f"committed has {len(committed)} robot steps, a plan has {longest} and has to end later")
        if not history.frames:
            raise NotPossibleError("the session has seen no frame: give a request with one")
        before = history.context(self.model.spec.action_block) if self.tells_surprise else []
        if before and before[-1].share:
            before = []  # an interpolated start would add its own error
        return _Prepared(
            session=self,
            pursuit=self.pursuit.later(done),
            history=history,
            context=history.context(),
            before=before,
            executed=executed,
            committed=committed,
            approach=Approach() if self.approach is None else self.approach.later(done),
            since=self._since + done,
            deadline_ms=None if request is None else request.deadline_ms,
            epoch=0 if request is None else request.epoch,
        )

    def commit(self, done: _Prepared, plan: RobotPlan) -> None:
        """Remember what was planned for, and the plan."""
        if done.executed is not None:
            self._record(done.history, done.executed)
        self._history, self.approach, self._since = done.history, done.approach, 0
        self.pursuit, self.goal = done.pursuit, None if done.goal is None else done.goal[None]
        self.memory = plan.memory
        self._told = plan.actions[: len(done.committed) + self.replan_every]

    def last_action(self, history: FrameHistory, committed: NDArray[np.float32]) -> NDArray[np.float32]:
        """The action (a,) that the next is near: the last executed, or where none is known the first committed."""
        if len(history.actions):
            return history.actions[-1]
        if self._sent is not None:
            return self._sent
        if len(committed):
            return committed[0]
        state = history.frames[-1][1].proprio if history.frames else None
        rest = self.limits.rest_action(None if state is None else state[0, 0].cpu().numpy())
        return np.where(np.isnan(rest), np.array(self.model.spec.neutral_action, np.float32), rest)

    def _extended(
        self, observation: Observation | StepObservation, executed: NDArray[np.float32]
    ) -> tuple[FrameHistory, int]:
        """The history with a frame, and how many robot steps were executed before it, 0 before the first."""
        if not isinstance(observation, StepObservation):
            observation, batched = read_observation(observation, self.model, self.device)
            if batched:
                raise UserError("the observation has a batch axis, a session is of one robot")
        if self.model.spec.proprio_dim and observation.proprio is None and not self._history.frames:
            instead = "is read off the frames, less exactly" if self.model.reads_proprio else "is the model's guess"
            warnings.warn(
                f"an observation without 'proprio': the model was trained with it; the robot's state {instead}",
                stacklevel=1,  # one place for all, at which Python tells it once
            )
        done = len(executed) if self._history.frames else 0
        return self._history.extended(observation, executed), done

    def _record(self, history: FrameHistory, executed: NDArray[np.float32]) -> None:
        """The newest frame of a history, after `executed` (n, a)."""
        if self.recording is None:
            return
        seen = history.frames[-1][1]
        proprio = None if seen.proprio is None else seen.proprio[0, 0].cpu().numpy()
        frames = {name: seen.cameras[name][0, 0].cpu().numpy() for name in self.model.spec.cameras}
        self.recording.see(frames, proprio, executed)

    def _actions(self, name: str, given: NDArray[np.float32] | None) -> NDArray[np.float32]:
        width = self.model.spec.action_dim
        if given is None:
            return np.zeros((0, width), np.float32)
        if given.shape[1] != width or not np.isfinite(given).all():
            wrong = f"has {given.shape[1]} numbers a row" if given.shape[1] != width else "holds numbers not finite"
            raise UserError(f"{name} must be a finite table of {width} numbers a row, got one that {wrong}")
        return np.array(given, np.float32)


def plan_batch(sessions: Sequence[PlanningSession], requests: Sequence[PlanRequest | None]) -> list[PlanReply]:
    """Plan one request for each of several sessions, together where model and settings agree.

    No reply depends on the others but for the last digits of floating-point sums, and for a deadline, which is the
    earliest in a batch.

    Args:
        requests: None to plan from the frame that the session observed last.

    Raises:
        ValueError, RuntimeError: as PlanningSession.plan(); then no session has changed.
    """
    began = time.perf_counter()

    def spent() -> float:
        return 1e3 * (time.perf_counter() - began)

    if len(sessions) != len(requests) or len({id(one) for one in sessions}) != len(sessions):
        raise UserError(f"there are {len(requests)} requests for {len(sessions)} sessions, which must be different")
    with ExitStack() as stack:
        for session in sorted(sessions, key=id):
            stack.enter_context(session.lock)
        prepared = [session.prepare(request) for session, request in zip(sessions, requests, strict=True)]
        for model in {id(one.model): one.model for one in sessions}.values():
            mine = [one for one in prepared if one.session.model is model]
            encode_together(model, [moment for one in mine for moment in (*one.context, *one.before)])
            _aim(model, mine)
        _continue_approaches(prepared)
        plans: dict[int, tuple[RobotPlan, PlanReply]] = {}
        for group in grouped(prepared, lambda one: one.session.together):
            moving = [one for one in group if not one.rests]
            found = group[0].session.core.plan([one.query(spent()) for one in moving]) if moving else []
            resting = [one for one in group if one.rests]
            found = [*found, *(one.rest() for one in resting)]
            for one, plan in zip([*moving, *resting], found, strict=True):
                rest = _checked(one, plan)[len(one.committed) :].copy()
                reply = PlanReply(rest, one.epoch, plan.cost, spent(), _surprise(one), plan.feasible)
                plans[id(one.session)] = plan, reply
        for one in prepared:
            one.session.commit(one, plans[id(one.session)][0])
    return [plans[id(session)][1] for session in sessions]


def _aim(model: WorldModel, prepared: list[_Prepared]) -> None:
    """Set what robots of one model head for, by what they see now."""
    for group in grouped(prepared, lambda one: one.session.together):
        seen = [one.context[-1].before for one in group]
        found = aims(model, group[0].session.core.objective, [one.pursuit for one in group], seen)
        for one, aim in zip(group, found, strict=True):
            one.pursuit, one.goal, one.target = aim.pursuit, aim.latent[0], aim.target
            if aim.is_new:
                one.approach, one.sets_out = Approach(), True


def _continue_approaches(prepared: list[_Prepared]) -> None:
    """Set the approaches to what the frames say of them."""
    for group in grouped(prepared, lambda one: one.inputs):
        first = group[0].session
        if first.schedule.arrival_step is None:
            continue
        context, past, goal = stacked([one.query(0.0) for one in group])
        so_far = [one.approach for one in group]
        objective = group[0].objective or first.core.objective
        approaches = continued(first.model, objective, first.schedule, context, past, goal, so_far)
        for one, now in zip(group, approaches, strict=True):
            one.sets_out, one.approach = one.sets_out or now.elapsed < one.approach.elapsed, now


def _checked(one: _Prepared, plan: RobotPlan) -> NDArray[np.float32]:
    """The actions of a plan, whose core may be anybody's."""
    least, width = len(one.committed) + 1, one.session.model.spec.action_dim
    if plan.actions.ndim != 2 or plan.actions.shape[1] != width or len(plan.actions) < least:
        core = type(one.session.core).__name__
        shape = f"(at least {least}, {width})"
        raise UserError(f"{core} must plan actions of shape {shape}, got {plan.actions.shape}")
    return plan.actions


def _surprise(one: _Prepared) -> float | None:
    """How badly the newest frame was predicted from one model step ago."""
    if not one.before:
        return None
    session, block = one.session, one.session.model.spec.action_block
    context = torch.cat([moment.latent for moment in one.before])[None]  # (1, T, *latent)
    steps = (len(one.before) - 1) * block
    past = upload(torch.from_numpy(one.history.executed(steps, back=block)), session.device)[None] if steps else None
    done = upload(torch.from_numpy(one.history.executed(block)), session.device)  # (1, A)
    value = surprise(session.model, context, done, one.context[-1].latent, past)
    return None if value is None else float(value[0])
