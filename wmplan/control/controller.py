"""From observations to actions, batched and in step with the robots: sessions that plan when a new plan is due."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmplan.control.arrival import Approach
from wmplan.control.backend import Goal, PlanReply
from wmplan.control.goals import read_goals
from wmplan.control.histories import Observation, read_observation
from wmplan.control.planning_core import PlanningCore
from wmplan.control.recording import Recorder, open_recorder
from wmplan.control.safety.limits import Limits
from wmplan.control.safety.safety_filter import LimitsGate
from wmplan.control.schedule import FollowedPlan, Schedule
from wmplan.control.search_core import SearchCore
from wmplan.control.session import PlanningSession, plan_batch
from wmplan.deprecated import SCHEDULE, renamed_arguments
from wmplan.errors import NotPossibleError, UserError
from wmplan.models.base import WorldModel
from wmplan.planning.cost import LatentCost
from wmplan.planning.objectives.distances import LatentDistance, Objective
from wmplan.planning.planner import Plan, Planner
from wmplan.planning.warm_start import fit_horizon
from wmplan.settings.numbers import MAX_SEED, as_int, plain, whole_numbers


@renamed_arguments(SCHEDULE)
class Controller:
    """Drives B robots to goals given as images or declared (wmplan.control.goals), one action a robot step.

    Each robot is a PlanningSession of its own; they plan together.

    Args:
        model: what encodes and predicts.
        planner: what searches; its bounds are those of one model step (model.spec.block_bounds()). Or a PlanningCore,
            which plans in another way, with an objective and a correction of its own.
        objective: cost of predicted latents; None for the squared distance to the goal's latent at the last step.
        limits: the last gate; None for the model's action bounds.
        replan_every: robot steps between two plans; None for one model step.
        arrival_step: robot steps after which the goal should be reached: the plan's horizon shrinks towards that time,
            which counts anew as wmplan.control.arrival says. None for the planner's own horizon all the time.
        min_horizon: model steps that the plan keeps looking ahead, however near or past the arrival.
        correction: part of the model's newest error that plans take off its predictions; see LatentCost.
        record: folder of a data set that everything seen and done is added to, which `wmplan train` takes; or a
            Recorder. close() saves what came last.

    Attributes:
        core: what plans; another one counts from the next reset() on.
        planned: whether the newest act() made a plan.
        plan_ms: how long that took, from the frame to the action.
        last_plan: the newest plan of each robot, of shape (B, H, A), shorter ones held at their last action; None
            before the first. Its diagnostics are those of the search where one search made it.
    """

    def __init__(
        self,
        model: WorldModel,
        planner: Planner | PlanningCore,
        objective: Objective | None = None,
        limits: Limits | None = None,
        replan_every: int | None = None,
        *,
        arrival_step: int | None = None,
        min_horizon: int = 1,
        correction: float = 0.0,
        record: str | Path | Recorder | None = None,
    ) -> None:
        spec = model.spec
        limits = (limits or Limits.of(spec)).knowing(spec)
        if limits.max_change is not None or limits.max_acceleration is not None:
            limits.require_known()  # or else there is nothing to measure the first change from
        if len(limits.low) != spec.action_dim:
            raise UserError(f"limits are for {len(limits.low)} numbers, the model's actions have {spec.action_dim}")
        self.model = model.eval()
        self.gate = LimitsGate(limits)
        self.schedule = Schedule(replan_every, arrival_step, min_horizon, correction)
        if isinstance(planner, PlanningCore):
            if objective is not None:
                raise UserError("objective must be left out where a planning core is given, which has its own")
            self.core = planner
        else:
            self.core = SearchCore(self.model, planner, objective or LatentDistance(), self.schedule)
        self.schedule.check(self.core.horizon, spec.action_block)
        self.device = model.device
        self.recorder: Recorder | None = None
        self._owns_recorder = isinstance(record, str | Path)
        if record is not None:
            low, high, task = spec.action_low, spec.action_high, model.card.get("task")
            self.recorder = open_recorder(record, low, high, spec.control_rate, task)
        self.sessions: list[PlanningSession] = []
        self.last_plan: Plan | None = None
        self.planned, self.plan_ms = False, 0.0

    @property
    def planner(self) -> Planner:
        """What searches.

        Raises:
            AttributeError: if the core does not search.
        """
        found: Planner = self.core.planner  # type: ignore[attr-defined]
        return found

    @property
    def objective(self) -> Objective:
        """The cost of predicted latents."""
        return self.core.objective

    @objective.setter
    def objective(self, objective: Objective) -> None:
        self.core.objective = objective

    @property
    def goal(self) -> Tensor | None:
        """Latents of the goals, (B, *latent); None before the first reset(), or the first plan for declared goals."""
        goals = [session.goal for session in self.sessions if session.goal is not None]
        return torch.cat(goals) if goals else None

    @property
    def approaches(self) -> list[Approach]:
        """Each robot's way to its goal."""
        return [session.approach or Approach() for session in self.sessions]

    @property
    def last_cost(self) -> LatentCost | None:
        """What the newest search minimised; None before the first, or where the core does not search."""
        searches = self.core.searches if self.last_plan is not None else ()
        return searches[-1].cost if searches else None

    def reset(
        self,
        goal: Observation | Goal | Sequence[Goal],
        seeds: Sequence[int] | int | None = None,
        *,
        at_rest: bool = False,
    ) -> None:
        """Forget the past and head for `goal`.

        Args:
            goal: what the camera should see: frames (H, W, 3) or (B, H, W, 3), or a dict of them with the robot's
                `proprio` at the goal, which a model fills in itself where it is left out; a declared goal of
                wmplan.control.goals; or a list of goals, one a robot.
            seeds: for the planner's random numbers, one a robot; one number s stands for s, s + 1, ...; None for
                the planner's own seed.
            at_rest: that the robots were brought to rest since the last act() by other means, as by a simulator that
                starts anew. Otherwise the next actions are within the limits of those sent last.

        Raises:
            ValueError: if the goal is not what the model takes, or the number of seeds is not that of goals.
        """
        pursuits, _ = read_goals(goal, self.model, self.core.objective)
        batch = len(pursuits)
        given = plain(self.core.seed if seeds is None else seeds)
        numbers = whole_numbers(given, "seeds", 0, MAX_SEED)
        if as_int(given) is not None:
            numbers = [numbers[0] + index for index in range(batch)]
        if len(numbers) != batch:
            raise UserError(f"there are {len(numbers)} seeds for {batch} goals")
        self.gate.reset(batch, at_rest=at_rest)
        for session in self.sessions:
            session.end_recording()
        self.sessions = [
            PlanningSession(
                self.model,
                schedule=self.schedule,
                limits=self.gate.limits,
                core=self.core,
                tells_surprise=False,
                recording=None if self.recorder is None else self.recorder.stream(self.model.spec.cameras),
            )
            for _ in numbers
        ]
        for session, pursuit, seed, sent in zip(self.sessions, pursuits, numbers, self.gate.last, strict=True):
            session.reset(seed, sent if np.isfinite(sent).all() else None)
            session.pursue(pursuit)
        self.last_plan = None
        self._followed = [FollowedPlan(self.gate.last[:0], 0)] * batch
        nothing = PlanReply(np.zeros((0, self.model.spec.action_dim), np.float32), 0, math.inf, 0.0)
        self._replies = [nothing] * batch
        self._sent = self.gate.last[:, None][:, :0]  # (B, n, a): since the newest frame

    def act(self, observation: Observation) -> NDArray[np.float32]:
        """The action of this robot step, (a,), or (B, a) where the observation has a batch axis.

        Call it once a robot step: it takes the action it returns as executed.

        Raises:
            ValueError: if the observation is not what the model takes, or its batch is not the goal's. Nothing has
                changed then, so that the call can be repeated with a better one.
            RuntimeError: before the first reset().
        """
        if not self.sessions:
            raise NotPossibleError("the controller has no goal: call reset(goal) first")
        began = time.perf_counter()
        seen, batched = read_observation(observation, self.model, self.device)
        if seen.batch != len(self.sessions):
            raise UserError(f"there are {seen.batch} observations for {len(self.sessions)} goals")
        for session, row, sent in zip(self.sessions, seen.rows(), self._sent, strict=True):
            session.observe(row, sent)
        self._sent = self._sent[:, :0]

        due = [robot for robot, plan in enumerate(self._followed) if plan.is_over]
        self.planned = bool(due)
        if due:
            self._replan(due)
            self.plan_ms = 1000 * (time.perf_counter() - began)
        proprio = None if seen.proprio is None else seen.proprio[:, 0].cpu().numpy()
        if proprio is not None:
            self.gate.measure(proprio)
        actions = self.gate(np.stack([plan.next_action() for plan in self._followed]), proprio)
        self._sent = actions[:, None].copy()
        return actions if batched else actions[0]

    def close(self) -> None:
        """Save what was recorded last, and end the recording, if there is one; a Recorder that was given goes on."""
        for session in self.sessions:
            session.end_recording()
        if self.recorder is not None and self._owns_recorder:
            self.recorder.close()

    def _replan(self, due: Sequence[int]) -> None:
        """New plans for these robots, from here."""
        replies = plan_batch([self.sessions[robot] for robot in due], [None] * len(due))
        for robot, reply in zip(due, replies, strict=True):
            self._followed[robot] = FollowedPlan(reply.actions, self.sessions[robot].replan_every)
            self._replies[robot] = reply
        searches, spec = self.core.searches, self.model.spec
        if len(due) == len(self.sessions) and len(searches) == 1:
            self.last_plan = searches[0].plan
            return
        plans = [torch.from_numpy(reply.actions.reshape(1, -1, spec.block_dim)) for reply in self._replies]
        longest = max(plan.shape[1] for plan in plans)
        self.last_plan = Plan(
            torch.cat([fit_horizon(plan, longest, spec.action_dim) for plan in plans]),
            torch.tensor([reply.cost for reply in self._replies]),
            {"feasible": torch.tensor([reply.feasible for reply in self._replies])},
        )
