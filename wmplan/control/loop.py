"""The real-time loop without its threads: every decision, as a function of what happens when."""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wmplan.control.gate import LimitsGate
from wmplan.control.limits import Limits
from wmplan.control.observation_guard import SAME_TIME, ObservationGuard
from wmplan.control.planning_time import PlanningTime
from wmplan.control.realtime_config import RealtimeConfig
from wmplan.control.request import Backend, Goal, PlanReply, PlanRequest
from wmplan.control.statistics import Statistics
from wmplan.control.timeline import Action, Timeline

log = logging.getLogger(__name__)

State = Literal["FOLLOW", "HOLD", "SAFE_STOP"]
LONGEST_GAP = 100
"""Robot steps without a plan after which what the planner knows of the past is dropped."""
MOVING = 0.1  # of half an action's range: the robot then has to look different after a while


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


class ControlLoop:
    """Decides what is planned from and what is sent. Thread-safe; time is an argument.

    At each control tick: begin(), then take(). The planner's side asks next_job() and answers with told(), deliver()
    or fail(). States: FOLLOW while there is a planned action for the present robot step, HOLD (the robot is led to
    rest within its limits) while there is none, SAFE_STOP (the same, until reset()) after `hold_seconds` of HOLD, at
    an e-stop, or where limits or surprise ask for it.

    Args:
        limits: of what is sent.
        control_rate: ticks in a second.
        step_rate: robot steps in a second, those of the model; at most control_rate.
        config: settings.
    """

    def __init__(self, limits: Limits, control_rate: float, step_rate: float, config: RealtimeConfig) -> None:
        if not 0 < step_rate <= control_rate < math.inf:
            raise ValueError(
                f"control_rate is {control_rate} and step_rate {step_rate}: they have to be above zero, and there has "
                "to be at least one control tick in each robot step"
            )
        # Nothing that is not finite gets as far as the gate; it must not raise in the middle of a motion.
        on_non_finite = "rest" if limits.on_non_finite == "raise" else limits.on_non_finite
        self.gate = LimitsGate(replace(limits, on_non_finite=on_non_finite))
        self.config, self.control_rate, self.step_rate = config, control_rate, step_rate
        self.guard = ObservationGuard(config.max_age, config.max_repeats, limits.workspace is not None)
        self.timeline = Timeline(limits.rest_action())
        self.planning_time = PlanningTime(config.expected_seconds, config.quantile, config.warmup)
        self.statistics = Statistics()
        self.lock = threading.RLock()
        self.epoch = self._life = 0
        self.state: State = "HOLD"
        self.reason: str | None = "there is no goal yet"
        self.has_goal = False
        self.working = False  # whether the planner is at a job
        self._commands: deque[Command] = deque()
        self._mailbox: Frame | None = None
        self._seed = 0
        self._clear()

    # ------------------------------------------------------------------ goals

    def reset(self, goal: Goal, seed: int, now: float) -> None:
        """Begin again with a robot at rest; ends a SAFE_STOP."""
        with self.lock:
            self._seed = seed
            self.gate.reset()
            self.guard.reset()
            self.timeline.reset()
            self._enter("HOLD", "waiting for the first plan", now, force=True)
            self._aim(goal, seed)
            self._clear()

    def set_goal(self, goal: Goal, now: float) -> None:
        """Head for another goal from where the robot is. What is committed is still executed; it ends no SAFE_STOP."""
        with self.lock:
            if not self.has_goal:
                raise RuntimeError("there was no reset(goal) yet: it comes first")
            committed = math.ceil(self.planning_time.expected * self.step_rate - 1e-6)
            self.timeline.cut(self.timeline.next + committed)
            self._aim(goal, None)

    def _aim(self, goal: Goal, seed: int | None) -> None:
        """A new epoch: what was asked for an earlier one no longer counts."""
        self.epoch += 1
        self.has_goal = True
        self.guard.expect(goal if isinstance(goal, Mapping) else {"pixels": goal})
        untold = [command.seed for command in self._commands if command.seed is not None]
        if seed is None and untold:
            seed = untold[-1]
        self._commands = deque([Command(self.epoch, seed, goal)])
        self._retry_at, self._mailbox, self._calm, self._replan_now = -math.inf, None, True, True

    def _clear(self) -> None:
        self._life += 1
        self._last_tick: float | None = None
        self._ticks = 0.0  # robot steps, in fractions, begun since reset
        self._is_new_step = False
        self._hold_since: float | None = None
        self._has_plan = False
        self._mailbox = None
        self._anchor: int | None = None  # robot step of the last frame that the planner has
        self._planned_step: int | None = None  # of the newest frame handed to it
        self._offered_at: float | None = None  # when the newest offered frame was captured
        self._plan_steps: int | None = None  # from a plan's frame to its end
        self._replan_now = False
        self._calm = True  # whether the newest plan's frame was no surprise
        self._retry_at = -math.inf
        self._measured: tuple[NDArray[np.float64], int] | None = None  # robot state, and its robot step

    # ------------------------------------------------------------------ the robot's side

    def begin(
        self, observation: Mapping[str, Any] | NDArray[np.uint8] | None, captured_at: float | None, now: float
    ) -> None:
        """A control tick begins; None for no observation, `captured_at` None for now."""
        with self.lock:
            self._advance(now)
            if observation is not None and not isinstance(observation, Mapping):
                observation = {name: observation for name in list(self.guard.shapes)[:1]}
            captured_at = now if captured_at is None else captured_at
            last = self.gate.last[0]
            moves = bool((np.abs(last - self.timeline.rest) > MOVING * (self.gate.high - self.gate.low) / 2).any())
            fault = self.guard.fault(observation, captured_at, now, moves)
            if fault is not None or observation is None:
                self.statistics.count("rejected", fault or "missing")
                return
            age = max(0.0, now - captured_at) * self.step_rate  # robot steps
            step = max(0, round(self._ticks - age))
            if observation.get("proprio") is not None:
                self._measured = np.asarray(observation["proprio"], np.float64)[None], step
            if not self.config.compensation:
                step = self.timeline.next - 1
            self._offer(observation, captured_at, step)

    def _advance(self, now: float) -> None:
        """Find the robot step of this tick, by the time since the tick before."""
        share = self.step_rate / self.control_rate
        if self._last_tick is None:
            self._is_new_step = True
            self.timeline.begin(1)
            return
        ticks = max(1, round((now - self._last_tick) * self.control_rate))
        self.statistics.measure("interval_seconds", now - self._last_tick)
        self._ticks += ticks * share
        steps = math.floor(self._ticks + 1e-6) + 1 - self.timeline.next
        self._is_new_step = steps > 0
        if ticks > 1:
            self.statistics.count("skipped", by=ticks - 1)
        if steps > LONGEST_GAP:
            self._forget_past(self.timeline.next + steps - 1)
        if steps:
            self.timeline.begin(steps)
        newest = self.timeline.next - 1
        if self._anchor is not None and newest - self._anchor > LONGEST_GAP:
            self._forget_past(newest)

    def _forget_past(self, step: int) -> None:
        """Have the planner forget what was before: it was not asked for too long."""
        self._anchor = None
        self._life += 1
        self.timeline.forget_before(step)
        if not any(command.seed is not None for command in self._commands):
            self._commands.append(Command(self.epoch, self._seed, None))

    def _offer(self, observation: Mapping[str, Any], captured_at: float, step: int) -> None:
        """Put a frame into the mailbox, in place of an older one."""
        since_offered = math.inf if self._offered_at is None else abs(captured_at - self._offered_at)
        if not self._is_new_step or since_offered < SAME_TIME:
            return
        since = None if self._planned_step is None else step - self._planned_step
        if since is not None and since < self.config.replan_every and self._has_plan and not self._replan_now:
            return
        own = {name: np.array(value) for name, value in observation.items() if value is not None}
        self._mailbox, self._offered_at = Frame(own, captured_at, step), captured_at

    def take(self, now: float) -> Action:
        """The action of this tick, (a,)."""
        with self.lock:
            self._last_tick = now
            before = self.gate.violations.copy()
            step = self.timeline.next - 1
            planned = self.timeline.planned.get(step)
            if planned is not None and self.config.follow_seconds is not None:
                planned = planned if now - planned.captured_at <= self.config.follow_seconds else None
            if self.state == "SAFE_STOP" or planned is None:
                action = self.gate.rest()[0]
                if self.gate.stopped is not None:
                    self.stop(self.gate.stopped, now)
                elif self.state != "SAFE_STOP":
                    self._hold(now)
            else:
                action = self.gate(planned.action[None], self._position())[0]
                if self.gate.stopped is not None:
                    self.stop(self.gate.stopped, now)
                else:
                    self._enter("FOLLOW", None, now)
                    self.statistics.measure("age_seconds", now - planned.captured_at)
            self.timeline.sent(action)
            for kind, number in (self.gate.violations - before).items():
                self.statistics.count("violations", kind, number)
            self.statistics.count("ticks", self.state)
            return action

    def _position(self) -> NDArray[np.float64] | None:
        """The robot's state (1, P) now: as measured last, moved by what was sent since. Only a workspace needs it."""
        workspace = self.gate.limits.workspace
        if workspace is None or self._measured is None:
            return None
        state, step = self._measured
        positions = workspace.positions(state)
        for action in self.timeline.executed(step, self.timeline.next - 1):
            positions = workspace.moved(positions, action[None])
        moved = state.copy()
        moved[:, list(workspace.proprio)] = positions
        return moved

    def _hold(self, now: float) -> None:
        reason = self.reason if self.state == "HOLD" else "the plan has ended"
        self._enter("HOLD", reason, now)
        if self._hold_since is None:
            self._hold_since = now
        patience = self.config.hold_seconds if self._has_plan else self.config.first_seconds
        if self.has_goal and now - self._hold_since >= patience:
            self.stop("hold_too_long" if self._has_plan else "no_first_plan", now)

    def stop(self, reason: str, now: float) -> None:
        """SAFE_STOP until reset()."""
        with self.lock:
            if self.state != "SAFE_STOP":
                self.statistics.count("stops", reason)
                self._enter("SAFE_STOP", reason, now)
                self.timeline.cut(0)

    def _enter(self, state: State, reason: str | None, now: float, force: bool = False) -> None:
        if self.state == "SAFE_STOP" and not force:
            return
        if state != self.state:
            self.statistics.count("states", f"{self.state}->{state}")
            level = logging.WARNING if state == "SAFE_STOP" and reason != "stopped" else logging.INFO
            log.log(level, "%s -> %s%s", self.state, state, f": {reason}" if reason else "")
            if state == "HOLD":
                self._hold_since = now
        self.state, self.reason = state, reason
        self.statistics.state = state

    # ------------------------------------------------------------------ the planner's side

    @property
    def has_plan(self) -> bool:
        """Whether there was a plan since reset()."""
        return self._has_plan

    @property
    def awaits_plan(self) -> bool:
        """Whether the planner has something to do, or does it."""
        has_frame = self._mailbox is not None and self.state != "SAFE_STOP"
        return self.working or bool(self._commands) or has_frame

    @property
    def retries(self) -> bool:
        """Whether next_job() will have something without anything happening."""
        return bool(self._commands)

    def next_job(self, now: float) -> Command | PlanJob | None:
        """What the planner should do next, None for nothing yet."""
        with self.lock:
            if self._commands:
                return self._commands[0] if now >= self._retry_at else None
            if self._mailbox is None or self.state == "SAFE_STOP":
                return None
            frame, self._mailbox = self._mailbox, None
            if self._anchor is not None and frame.step < self._anchor:  # ticks that jitter: it is a bit younger
                frame = replace(frame, step=self._anchor)
            self._planned_step, self._replan_now = frame.step, False
            count = self._committed_steps(frame, now)
            begin = frame.step + count if self.config.compensation else None
            request = PlanRequest(
                frame.observation,
                executed=self.timeline.executed(frame.step if self._anchor is None else self._anchor, frame.step),
                committed=self._committed(frame.step, count),
                deadline_ms=self.config.deadline_ms,
                epoch=self.epoch,
            )
            return PlanJob(self.epoch, self._life, request, frame, begin, now)

    def _committed_steps(self, frame: Frame, now: float) -> int:
        """Robot steps from a frame until a plan from it can take effect."""
        if not self.config.compensation:
            return 0
        if self.timeline.is_empty and not self._moved_since(frame.step):
            return self.timeline.free - frame.step  # the robot stands still until the plan is there, whenever that is
        count = math.ceil((now - frame.captured_at + self.planning_time.expected) * self.step_rate - 1e-6)
        count = max(count, self.timeline.next - frame.step)
        return count if self._plan_steps is None else min(count, self._plan_steps - 1)

    def _committed(self, step: int, count: int) -> Action:
        """What is executed in `count` robot steps from `step` on, as far as it is known, (count, a)."""
        known = max(step, min(step + count, self.timeline.free))
        done = self.timeline.executed(step, known)
        following = [self.timeline.planned.get(at) for at in range(known, step + count)]
        ahead = self.gate.preview([None if row is None else row.action for row in following])
        return np.concatenate([done, ahead])

    def told(self, command: Command) -> None:
        """The planner took a command."""
        with self.lock:
            if self._commands and self._commands[0] is command:
                self._commands.popleft()

    def deliver(self, job: PlanJob, reply: PlanReply, now: float) -> None:
        """The planner's answer to a request."""
        with self.lock:
            if job.life == self._life:
                self._anchor = job.frame.step
                self.timeline.forget_before(self._anchor)
            if job.epoch != self.epoch or self.state == "SAFE_STOP":
                self.statistics.count("plans", "discarded")
                return
            wrong = self._wrong(reply)
            if wrong is not None:
                self.statistics.count("plans", "failed")
                self.statistics.error(ValueError(wrong))
                log.warning("a plan was dropped: %s", wrong)
                return
            warm = self.planning_time.add(now - job.began)
            if warm:
                self.statistics.measure("plan_seconds", now - job.began)
            if not self._accept(reply.surprise, now):
                return
            self._plan_steps = len(reply.actions) + (0 if job.request.committed is None else len(job.request.committed))
            self._install(job, reply.actions, warm)

    def _install(self, job: PlanJob, actions: Action, warm: bool) -> None:
        first = self.timeline.free
        begin = first if job.begin is None else job.begin
        if begin < first and not self._moved_since(job.frame.step):
            begin = first  # the robot is still where the frame shows it: no part of the plan is over
        late = begin < first
        self.statistics.count("plans", ("late" if late else "used") if warm else "warmup")
        jump = self.timeline.install(np.array(actions, np.float32), begin, first, job.frame.captured_at)
        if jump is not None:
            self.statistics.measure("seam", jump / float((self.gate.high - self.gate.low).max()))
        self._has_plan = self._has_plan or first < begin + len(actions)

    def _moved_since(self, step: int) -> bool:
        """Whether anything but rest was sent since the beginning of a robot step."""
        slack = 1e-5 * (self.gate.high - self.gate.low)
        return bool((np.abs(self.timeline.executed(step, self.timeline.free) - self.timeline.rest) > slack).any())

    def _wrong(self, reply: PlanReply) -> str | None:
        """What makes a reply no plan, None for nothing."""
        actions = np.asarray(reply.actions)
        width = len(self.timeline.rest)
        if actions.ndim != 2 or not len(actions) or actions.shape[1] != width:
            return f"its actions have shape {actions.shape}, they have to be (robot steps, {width})"
        if not np.issubdtype(actions.dtype, np.number) or not np.isfinite(actions).all():
            return "its actions hold what is not a finite number"
        if not math.isfinite(reply.cost):
            return f"its cost is {reply.cost}: no candidate could be judged"
        return None

    def _accept(self, surprise: float | None, now: float) -> bool:
        """Whether a plan may be followed, by how surprising its frame was."""
        threshold = self.config.surprise_threshold
        if surprise is None:
            return self._calm or self.config.surprise_action != "hold"
        self.statistics.measure("surprise", surprise)
        self._calm = threshold is None or surprise <= threshold  # a number that is none is a surprise
        if self._calm:
            return True
        self.statistics.count("surprises", self.config.surprise_action)
        if self.config.surprise_action == "replan":
            self._replan_now = True
        elif self.config.surprise_action == "hold":
            self.timeline.cut(0)
            self._enter("HOLD", f"surprise {surprise:.3g} is above {threshold:g}", now)
        elif self.config.surprise_action == "stop":
            self.stop("surprise", now)
        return self.config.surprise_action in ("ignore", "replan")

    def fail(self, job: Command | PlanJob, error: Exception, now: float) -> None:
        """The planner raised: it is counted and told, and tried again, a command after a pause."""
        with self.lock:
            self.statistics.error(error)
            log.warning("the planner failed: %s: %s", type(error).__name__, error)
            if isinstance(job, Command):
                self._retry_at = now + self.config.retry_seconds
            else:
                self.statistics.count("plans", "failed" if job.epoch == self.epoch else "discarded")
