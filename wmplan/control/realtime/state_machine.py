"""The real-time loop without its threads: every decision, as a function of what happens when."""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wmplan.client.goals import goal_frames
from wmplan.control.backend import Goal, PlanRequest
from wmplan.control.realtime.config import RealtimeConfig
from wmplan.control.realtime.jobs import Command, Frame, PlanJob
from wmplan.control.realtime.latency import PlanningTime
from wmplan.control.realtime.observation_check import SAME_TIME, ObservationGuard, ObservationRefusedError, Observed
from wmplan.control.realtime.plan_check import LONGEST_PLAN, CheckedPlan, read_plan
from wmplan.control.realtime.reason import Reason
from wmplan.control.realtime.telemetry import Statistics, described
from wmplan.control.realtime.tick_clock import TickClock
from wmplan.control.realtime.timeline import KEPT, Action, Timeline, following
from wmplan.control.recording import Recording
from wmplan.control.safety.limits import Limits
from wmplan.control.safety.safety_filter import LimitsGate
from wmplan.deprecated import renamed_methods
from wmplan.errors import NotPossibleError, UserError
from wmplan.settings.numbers import finite_number

log = logging.getLogger(__name__)

State = Literal["FOLLOW", "HOLD", "SAFE_STOP"]
LONGEST_GAP = 100
"""Robot steps without a plan after which what the planner knows of the past is dropped."""
MOVING = 0.1  # of half an action's range: the robot then has to look different after a while
MOVING_POSITION = 1e-3  # of a position's range in one tick: the same
FASTEST = 1e6  # control ticks in a second, and seconds of the longest robot step
LONG_WORK = 1.0  # seconds of a planner's job that are told
SAID_EVERY = 10.0  # seconds at least between two warnings of refused observations


@renamed_methods(
    {"begin": "observe", "take": "command", "told": "acknowledge", "deliver": "accept_plan", "fail": "plan_failed"}
)
class ControlLoop:
    """Decides what is planned from and what is sent. Thread-safe; time is an argument.

    At each control tick: observe(), then command(). The planner's side asks next_job() and answers with acknowledge(),
    accept_plan() or plan_failed(). States: FOLLOW while there is a planned action for the present robot step, HOLD (the
    robot is led to rest within its limits) while there is none, SAFE_STOP (the same, until reset()) after
    `hold_seconds` of HOLD, at an e-stop, or where limits or surprise ask for it.

    Which robot step is present is read from the clock, not from the number of ticks: a tick that comes too early is
    answered with the action before, ticks that do not come are left out of the plan.

    No observation and no reply makes it raise, whatever they are: they are refused, and counted.

    Args:
        limits: of what is sent.
        control_rate: ticks in a second.
        step_rate: robot steps in a second, those of the model; at most control_rate.
        config: settings.

    Attributes:
        state: FOLLOW, HOLD or SAFE_STOP.
        reason: why it is not FOLLOW, or that act() is called at another rate than was told; None for neither.
    """

    def __init__(self, limits: Limits, control_rate: float, step_rate: float, config: RealtimeConfig) -> None:
        control_rate, step_rate = finite_number(control_rate, "control_rate"), finite_number(step_rate, "step_rate")
        if not 1 / FASTEST <= step_rate <= control_rate <= FASTEST:
            raise UserError(
                f"control_rate and step_rate must be above zero and at most {FASTEST:g}, with at least one control "
                f"tick in each robot step, got {control_rate:g} and {step_rate:g}"
            )
        # Nothing that is not finite gets as far as the gate; it must not raise in the middle of a motion.
        limits.require_known()
        on_non_finite = "rest" if limits.on_non_finite == "raise" else limits.on_non_finite
        self.gate = LimitsGate(replace(limits, on_non_finite=on_non_finite))
        self.config, self.control_rate, self.step_rate = config, control_rate, step_rate
        self.guard = ObservationGuard(config.max_age, config.max_repeats, limits.least_proprio)
        self.ticks = TickClock(control_rate)
        self.timeline = Timeline(self.gate.standing[0])
        self.planning_time = PlanningTime(config.expected_seconds, config.quantile, config.warmup)
        self.statistics = Statistics()
        self.lock = threading.RLock()
        self.epoch = self._life = 0
        self.state: State = "HOLD"
        self.reason: str | None = None
        self.has_goal = False
        self.recording: Recording | None = None  # where what is seen and sent is written
        self._work_began: float | None = None  # when the planner began the job that it is at
        self._why = Reason("there is no goal yet")
        share = np.where(limits.held, MOVING_POSITION, MOVING / 2)
        self._moving = np.maximum(share * self.gate.span, self.gate.slack)
        self._commands: deque[Command] = deque()
        self._mailbox: Frame | None = None
        self._seed = 0
        self._clear()
        self._tell()

    # ------------------------------------------------------------------ goals

    def reset(self, goal: Goal, seed: int, now: float, at_rest: bool = False) -> None:
        """Begin again from the motion that the robot is in, or with a robot `at_rest`; ends a SAFE_STOP."""
        with self.lock:
            self._seed = seed
            self.gate.reset(at_rest=at_rest)
            self.guard.reset()
            self.timeline.reset()
            self.timeline.rest = self.gate.standing[0]
            self._why = Reason()
            self._enter("HOLD", "waiting for the first plan", now, force=True)
            self._aim(goal, seed)
            self._clear()

    def set_goal(self, goal: Goal, now: float) -> None:
        """Head for another goal from where the robot is. What is committed is still executed; it ends no SAFE_STOP."""
        with self.lock:
            if not self.has_goal:
                raise NotPossibleError("there was no reset(goal) yet: it comes first")
            committed = math.ceil(self.planning_time.expected * self.step_rate - 1e-6)
            self.timeline.cut(self.timeline.next + committed)
            self._aim(goal, None)

    def _aim(self, goal: Goal, seed: int | None) -> None:
        """A new epoch: what was asked for an earlier one no longer counts."""
        self.epoch += 1
        self.has_goal = True
        self.guard.expect(goal_frames(goal))
        untold = [command.seed for command in self._commands if command.seed is not None]
        if seed is None and untold:
            seed = untold[-1]
        self._commands = deque([Command(self.epoch, seed, goal)])
        self._end_recording()
        self._retry_at, self._mailbox, self._calm, self._replan_now = -math.inf, None, True, True
        self._why.goal = self._why.plan = None

    def _clear(self) -> None:
        self._life += 1
        self._recorded: int | None = None  # robot step of the newest frame in the recording
        self.ticks.reset()
        self._steps = 0.0  # robot steps, in fractions, begun since reset
        self._is_due = self._is_new_step = False
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
        self._said = ("", -math.inf)  # the newest refusal that was warned of, and when

    # ------------------------------------------------------------------ the robot's side

    def observe(self, observation: Any, captured_at: Any, now: float) -> None:
        """A control tick begins; None for no observation, `captured_at` None for now. It takes anything."""
        with self.lock:
            self._advance(now)
            moves = self._is_due and bool((np.abs(self.gate.from_rest[0]) > self._moving).any())
            try:
                seen = self.guard.judge(observation, now if captured_at is None else captured_at, now, moves)
            except ObservationRefusedError as refusal:
                self._refuse(refusal, now)
                return
            self._why.observation, self._said = None, ("", self._said[1])
            age = max(0.0, now - seen.captured_at) * self.step_rate  # robot steps
            step = max(0, round(self._steps - age))
            if seen.proprio is not None:
                if not self.gate.is_known:
                    self.gate.measure(seen.proprio[None])
                    self.timeline.rest = self.gate.standing[0]
                self._measured = seen.proprio.astype(np.float64)[None], step
            self._record(seen, step)
            self._offer(seen, step if self.config.compensation else self.timeline.next - 1)

    def _record(self, seen: Observed, step: int) -> None:
        """A frame of the beginning of robot step `step`, after what was sent since the one before."""
        if self.recording is None or self.state == "SAFE_STOP" or step < (self._recorded or 0):
            return
        executed = self.timeline.executed(step if self._recorded is None else self._recorded, step)
        self.recording.see(seen.frames, seen.proprio, executed)
        self._recorded = step

    def _end_recording(self) -> None:
        self._recorded = None
        if self.recording is not None:
            self.recording.end()

    def _refuse(self, refusal: ObservationRefusedError, now: float) -> None:
        self.statistics.count("rejected", refusal.fault)
        self._why.observation = f"the newest observation was refused ({refusal.fault}): {refusal}"
        fault, at = self._said
        if fault != refusal.fault and now - at >= SAID_EVERY:
            self._said = refusal.fault, now
            log.warning("%s", self._why.observation)

    def _advance(self, now: float) -> None:
        """Find the robot step of this tick, by the clock."""
        ticks = self.ticks.count(now)
        self._is_due = ticks > 0
        if self.ticks.interval is None:
            self._is_new_step = True
            self.timeline.begin(1)
            return
        self.statistics.measure("interval_seconds", self.ticks.interval)
        self._complain()
        if ticks > 1:
            self.statistics.count("skipped", by=ticks - 1)
        self._steps += ticks * self.step_rate / self.control_rate
        steps = math.floor(self._steps + 1e-6) + 1 - self.timeline.next
        self._is_new_step = steps > 0
        if steps > LONGEST_GAP:
            self._forget_past(self.timeline.next + steps - 1)
        if steps:
            self.timeline.begin(steps)
        newest = self.timeline.next - 1
        if self._anchor is not None and newest - self._anchor > LONGEST_GAP:
            self._forget_past(newest)

    def _complain(self) -> None:
        before, self._why.rate = self._why.rate, self.ticks.complaint
        if before is None and self._why.rate is not None:
            log.warning("%s: actions are held or left out, so that the plan keeps its speed", self._why.rate)

    def _forget_past(self, step: int) -> None:
        """Have the planner forget what was before: it was not asked for too long."""
        self._anchor = None
        self._life += 1
        self.timeline.forget_before(step)
        if not any(command.seed is not None for command in self._commands):
            self._commands.append(Command(self.epoch, self._seed, None))

    def _offer(self, seen: Observed, step: int) -> None:
        """Put a frame into the mailbox, in place of an older one."""
        since_offered = math.inf if self._offered_at is None else abs(seen.captured_at - self._offered_at)
        if not self._is_new_step or since_offered < SAME_TIME:
            return
        since = None if self._planned_step is None else step - self._planned_step
        if since is not None and since < self.config.replan_every and self._has_plan and not self._replan_now:
            return
        self._mailbox, self._offered_at = Frame(seen.copied(), seen.captured_at, step), seen.captured_at

    def command(self, now: float, waited: float = 0.0) -> Action:
        """The action of this tick, (a,); `waited` of the seconds since observe() were spent on the first plan.

        Raises:
            NotPossibleError: as long as nobody knows where the numbers are that are held, see Limits.measured.
        """
        with self.lock:
            self.ticks.waited(waited)
            if not self._is_due and self.state != "SAFE_STOP":
                self.gate.poll_estop()
                if self.gate.stopped is None:
                    self.gate.require_known()
                    self.statistics.count("early")
                    self._tell()
                    return self.gate.last[0].copy()
            at_work = 0.0 if self._work_began is None else now - self._work_began
            self._why.work = f"the planner has been at work for {at_work:.1f} s" if at_work >= LONG_WORK else None
            before = self.gate.violations.copy()
            planned = self.timeline.planned(self.timeline.next - 1)
            if planned is not None and self.config.follow_seconds is not None:
                planned = planned if now - planned.captured_at <= self.config.follow_seconds else None
            if self.state == "SAFE_STOP" or planned is None:
                action = self.gate.rest()[0]
                if self.gate.stopped is not None:
                    self.stop(self.gate.stopped, now)
                elif self.state != "SAFE_STOP":
                    self._hold(now)
            else:
                action = self.gate(planned.actions[:1], self._position())[0]
                if self.gate.stopped is not None:
                    self.stop(self.gate.stopped, now)
                else:
                    self._enter("FOLLOW", None, now)
                    self.statistics.measure("age_seconds", now - planned.captured_at)
            self.timeline.sent(action)
            if self.is_at_rest:
                self.timeline.rest = self.gate.standing[0]
            for kind, number in (self.gate.violations - before).items():
                self.statistics.count("violations", kind, number)
            self.statistics.count("ticks", self.state)
            self._tell()
            return action

    def _position(self) -> NDArray[np.float64] | None:
        """The robot's state (1, P) now: as measured last, moved by what was sent since. Only a workspace needs it."""
        workspace = self.gate.limits.workspace
        if workspace is None or self._measured is None:
            return None
        state, step = self._measured
        sent = self.timeline.executed(step, self.timeline.next - 1).sum(axis=0, dtype=np.float64)
        moved = state.copy()
        moved[:, list(workspace.proprio)] = workspace.moved(workspace.positions(state), sent[None])
        return moved

    def _hold(self, now: float) -> None:
        reason = self._why.state if self.state == "HOLD" else "the plan has ended"
        self._enter("HOLD", reason, now)
        if self._hold_since is None:
            self._hold_since = now
        patience = self.config.hold_seconds if self._has_plan else self.config.first_seconds
        if self.has_goal and now - self._hold_since >= patience:
            if not self._has_plan:
                self._why.work = None  # the label says so
            label = "hold_too_long" if self._has_plan else "no_first_plan"
            self.stop(label, now, "; ".join(self._why.causes()) or None)

    def stop(self, label: str, now: float, cause: str | None = None) -> None:
        """SAFE_STOP until reset(), counted under `label`."""
        with self.lock:
            if self.state != "SAFE_STOP":
                self._end_recording()
                self.statistics.count("stops", label)
                self._enter("SAFE_STOP", label if cause is None else f"{label}: {cause}", now)
                self.timeline.cut(0)

    def _enter(self, state: State, reason: str | None, now: float, force: bool = False) -> None:
        if self.state == "SAFE_STOP" and not force:
            return
        before, self.state, self._why.state = self.state, state, reason
        self._tell()
        if state == before:
            return
        self.statistics.count("states", f"{before}->{state}")
        quiet = state == "FOLLOW" or force or reason == "stopped"
        said = "" if self.reason is None else f": {self.reason}"
        log.log(logging.INFO if quiet else logging.WARNING, "%s -> %s%s", before, state, said)
        if state == "HOLD":
            self._hold_since = now

    def _tell(self) -> None:
        """Make up the reason."""
        if self.state == "FOLLOW":
            self.reason = self._why.rate
        else:
            self.reason = str(self._why) if self.state == "HOLD" else self._why.state
        self.statistics.state, self.statistics.reason = self.state, self.reason

    # ------------------------------------------------------------------ the planner's side

    @property
    def has_plan(self) -> bool:
        """Whether there was a plan since reset()."""
        return self._has_plan

    @property
    def working(self) -> bool:
        """Whether the planner is at a job."""
        return self._work_began is not None

    @property
    def awaits_plan(self) -> bool:
        """Whether the planner has something to do, or does it."""
        has_frame = self._mailbox is not None and self.state != "SAFE_STOP"
        return self.working or bool(self._commands) or has_frame

    @property
    def retries(self) -> bool:
        """Whether next_job() will have something without anything happening."""
        return bool(self._commands)

    def has_job(self, now: float) -> bool:
        """Whether next_job() has something."""
        with self.lock:
            if self._commands:
                return now >= self._retry_at
            return self._mailbox is not None and self.state != "SAFE_STOP"

    def next_job(self, now: float) -> Command | PlanJob | None:
        """What the planner should do next, None for nothing yet. What it computes keeps no tick waiting."""
        with self.lock:
            if not self.has_job(now):
                return None
            self._work_began = now
            if self._commands:
                return self._commands[0]
            assert self._mailbox is not None
            frame, self._mailbox = self._mailbox, None
            if self._anchor is not None and frame.step < self._anchor:  # ticks that jitter: it is a bit younger
                frame = replace(frame, step=self._anchor)
            self._planned_step, self._replan_now = frame.step, False
            epoch, life = self.epoch, self._life
            executed = self.timeline.executed(frame.step if self._anchor is None else self._anchor, frame.step)
            count = self._committed_steps(frame, now)
            known = max(frame.step, min(frame.step + count, self.timeline.free))
            done, plans, moment = self.timeline.executed(frame.step, known), self.timeline.plans, self.gate.moment
        ahead = self.gate.preview(following(plans, known, frame.step + count), moment)
        request = PlanRequest(
            frame.observation,
            executed=executed,
            committed=np.concatenate([done, ahead]),  # what is executed until the plan can take effect
            deadline_ms=self.config.deadline_ms,
            epoch=epoch,
        )
        begin = frame.step + count if self.config.compensation else None
        return PlanJob(epoch, life, request, frame, begin, now)

    def _committed_steps(self, frame: Frame, now: float) -> int:
        """Robot steps from a frame until a plan from it can take effect."""
        if not self.config.compensation:
            return 0
        if self.timeline.is_empty and not self._moved_since(frame.step):
            return self.timeline.free - frame.step  # the robot stands still until the plan is there, whenever that is
        count = math.ceil((now - frame.captured_at + self.planning_time.expected) * self.step_rate - 1e-6)
        count = max(count, self.timeline.next - frame.step)
        return min(count, LONGEST_PLAN if self._plan_steps is None else self._plan_steps - 1)

    def acknowledge(self, command: Command) -> None:
        """The planner took a command."""
        with self.lock:
            self._work_began, self._why.goal = None, None
            if self._commands and self._commands[0] is command:
                self._commands.popleft()
            self._tell()

    def accept_plan(self, job: PlanJob, reply: Any, now: float) -> None:
        """The planner's answer to a request, whatever it is: what is no plan is dropped, counted and told."""
        try:
            plan = read_plan(reply, len(self.timeline.rest))  # no tick waits for it
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # what an object of the planner's raises may be anything
            self._deliver(job, error, now)
        else:
            self._deliver(job, plan, now)

    def _deliver(self, job: PlanJob, plan: CheckedPlan | BaseException, now: float) -> None:
        refused = f"the newest plan was refused: {plan}" if isinstance(plan, BaseException) else None
        with self.lock:
            self._work_began = None
            if job.life == self._life:
                self._anchor = job.frame.step
                self.timeline.forget_before(self._anchor)
            if job.epoch != self.epoch or self.state == "SAFE_STOP":
                self.statistics.count("plans", "discarded")
                return
            self._why.plan = refused
            if isinstance(plan, BaseException):
                self.statistics.count("plans", "failed")
                self.statistics.error(plan)
            else:
                self._use(job, plan, now)
            self._tell()
        if refused is not None:
            log.warning("%s", refused)

    def _use(self, job: PlanJob, plan: CheckedPlan, now: float) -> None:
        spent = max(0.0, now - job.began)
        warm = self.planning_time.add(spent)
        if warm:
            self.statistics.measure("plan_seconds", spent)
        if self._accept(plan.surprise, now):
            committed = job.request.committed
            self._plan_steps = len(plan.actions) + (0 if committed is None else len(committed))
            self._install(job, plan.actions, warm)

    def _install(self, job: PlanJob, actions: Action, warm: bool) -> None:
        first = self.timeline.free
        begin = first if job.begin is None else job.begin
        if begin < first and not self._moved_since(job.frame.step):
            begin = first  # the robot is still where the frame shows it: no part of the plan is over
        late = begin < first
        self.statistics.count("plans", ("late" if late else "used") if warm else "warmup")
        jump = self.timeline.install(actions, begin, first, job.frame.captured_at)
        if jump is not None and (span := float(self.gate.span.max())):
            self.statistics.measure("seam", jump / span)
        self._has_plan = self._has_plan or first < begin + len(actions)

    def _moved_since(self, step: int) -> bool:
        """Whether anything but rest was sent since the beginning of a robot step, or has to be sent next."""
        begin, rest = max(step, self.timeline.free - KEPT), self.timeline.rest
        sent = self.timeline.executed(begin - 1, self.timeline.free)  # with the one before, which changes are told from
        moved = np.where(self.gate.limits.held, np.diff(sent, axis=0), sent[1:] - rest)
        return not self.gate.rests_next or bool((np.abs(moved) > self.gate.slack).any())

    @property
    def is_at_rest(self) -> bool:
        """Whether the action sent last is that of a robot at rest."""
        return not bool((np.abs(self.gate.from_rest[0]) > self.gate.slack).any())

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

    def plan_failed(self, job: Command | PlanJob, error: BaseException, now: float) -> None:
        """The planner raised: it is counted and told, and tried again, a command after a pause."""
        told = described(error)
        with self.lock:
            self._work_began = None
            self.statistics.error(error)
            if isinstance(job, Command):
                self._retry_at = now + self.config.retry_seconds
                if self._commands and self._commands[0] is job:
                    self._why.goal = f"the planner did not take the goal: {told}"
            elif job.epoch == self.epoch:
                self.statistics.count("plans", "failed")
                self._why.plan = f"the planner failed: {told}"
            else:
                self.statistics.count("plans", "discarded")
            self._tell()
        log.warning("the planner failed: %s", told)
