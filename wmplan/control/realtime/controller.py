"""The controller in real time: the robot's thread is answered at once, another one plans."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wmplan.client.goals import DECLARED, declared
from wmplan.control.backend import Backend, Goal
from wmplan.control.realtime.checked_clock import CheckedClock
from wmplan.control.realtime.config import RealtimeConfig
from wmplan.control.realtime.jobs import Command
from wmplan.control.realtime.state_machine import ControlLoop, State
from wmplan.control.realtime.telemetry import Statistics, described
from wmplan.control.recording import Recorder, open_recorder
from wmplan.control.safety.limits import Limits
from wmplan.errors import NotPossibleError, UserError
from wmplan.settings.numbers import MAX_SEED, whole_number

if TYPE_CHECKING:
    from wmplan.control.settings import Choice
    from wmplan.models.base import WorldModel

log = logging.getLogger(__name__)

STOP_TIMEOUT = 5.0  # seconds


class LoopStatus:
    """What a controller tells of its loop."""

    loop: ControlLoop

    @property
    def state(self) -> State:
        """FOLLOW, HOLD or SAFE_STOP."""
        return self.loop.state

    @property
    def reason(self) -> str | None:
        """Why it is not FOLLOW, in words: what is wrong with observations, the goal, the planner or the clock.

        In FOLLOW it is None, or says that act() is called at another rate than was told.
        """
        return self.loop.reason

    @property
    def statistics(self) -> Statistics:
        """What was counted and measured so far."""
        return self.loop.statistics


class RealtimeController(LoopStatus):
    """Drives one robot to goals given as images or declared (wmplan.control.goals), planning in the background.

    Call reset(goal), then act(observation) at `control_rate`. What it does when planning is late, observations are
    bad or the planner fails is written at ControlLoop and RealtimeConfig; `state`, `reason` and `statistics` tell of
    it. Only one thread may call act(); everything else may be called from any. Nothing that a planner raises is lost:
    it is logged, counted by type, and told by statistics.last_error. Neither it nor what a planner replies ends
    planning, but for a KeyboardInterrupt.

    Args:
        backend: what plans; it is called from one thread only. It stays the caller's: stop() does not close it.
        limits: of what is sent.
        control_rate: calls of act() in a second.
        config: settings; None for the defaults.
        step_rate: robot steps in a second, which the model was trained with; None for the control rate. Where the
            control rate is higher, an action is held.
        clock: seconds; captured_at is of the same clock. Where it fails or goes back the robot is stopped.
        record: folder of a data set that everything seen and sent is added to until a SAFE_STOP, which `wmplan train`
            takes; or a Recorder. It is written on a thread of its own; stop() saves what came last.

    Raises:
        ValueError: if the rates or the clock cannot be.
    """

    def __init__(
        self,
        backend: Backend,
        limits: Limits,
        control_rate: float,
        config: RealtimeConfig | None = None,
        *,
        step_rate: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        record: str | Path | Recorder | None = None,
    ) -> None:
        self.backend, self.config, self.clock = backend, config or RealtimeConfig(), CheckedClock(clock)
        told = known_of(backend)
        limits = limits.knowing(told)
        self.loop = ControlLoop(limits, control_rate, control_rate if step_rate is None else step_rate, self.config)
        self.recorder: Recorder | None = None
        self._owns_recorder = isinstance(record, str | Path)
        if record is not None:
            low, high, rate = limits.low, limits.high, self.loop.step_rate
            self.recorder = open_recorder(record, low, high, rate, told["task"])
            self.loop.recording = self.recorder.stream(told["cameras"])
        self._changed = threading.Condition(self.loop.lock)
        self._ending = False
        self._failures = 0
        self._broken: BaseException | None = None
        self._logged_at = self.clock()
        self._thread = threading.Thread(target=self._run, name="wmplan planning", daemon=True)
        self._thread.start()

    @classmethod
    def of(
        cls,
        model: WorldModel,
        planner: Choice | None = None,
        objective: Choice | None = None,
        schedule: Choice | None = None,
        limits: Limits | None = None,
        config: RealtimeConfig | None = None,
        *,
        control_rate: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        record: str | Path | Recorder | None = None,
    ) -> RealtimeController:
        """One that plans in this process, with settings as make_controller() takes them (this needs torch).

        `limits` are the model's action bounds if left out, `control_rate` is the model's.
        """
        from wmplan.control.session import PlanningSession  # loads torch

        spec = model.spec
        limits = (limits or Limits.of(spec)).knowing(spec)
        if len(limits.low) != spec.action_dim:
            raise UserError(f"limits are for {len(limits.low)} numbers, the model's actions have {spec.action_dim}")
        session = PlanningSession(model, planner, objective, schedule, limits)
        rate = spec.control_rate if control_rate is None else control_rate
        return cls(session, limits, rate, config, step_rate=spec.control_rate, clock=clock, record=record)

    # ------------------------------------------------------------------ the robot's side

    def reset(self, goal: Goal, seed: int = 0, *, at_rest: bool = False) -> None:
        """Begin anew towards `goal`, from the motion that the robot is in; ends a SAFE_STOP. Returns at once.

        A goal that the planner does not take shows in `reason`, in statistics.last_error, and in HOLD.

        Args:
            at_rest: that the robot was brought to rest since the last act() by other means, as by a simulator that
                starts anew. Otherwise the next action is within the limits of the one sent last.

        Raises:
            ValueError: if the goal holds what is no array of numbers, or the seed is no whole number from 0 to
                2**63 - 1.
            RuntimeError: after stop().
        """
        own, seed = _copied(goal), whole_number(seed, "seed", 0, MAX_SEED)
        with self._changed:
            self._check()
            self.clock.restart()
            now = self._logged_at = self.clock()
            self.loop.reset(own, seed, now, at_rest)
            self._changed.notify_all()

    def set_goal(self, goal: Goal) -> None:
        """Head for another goal, from the motion the robot is in. Returns at once.

        Raises:
            ValueError: if the goal holds what is no array of numbers.
            RuntimeError: before the first reset(), or after stop().
        """
        own = _copied(goal)
        with self._changed:
            self._check()
            self.loop.set_goal(own, self.clock())
            self._changed.notify_all()

    def act(
        self, observation: Mapping[str, Any] | NDArray[np.uint8] | None, captured_at: float | None = None
    ) -> NDArray[np.float32]:
        """The action (a,) to send now. It never waits, but for the first plan where the settings say `wait_first`.

        Whatever it is given, it answers with an action within the limits; `reason` says what was wrong.

        Args:
            observation: the newest there is, as Controller takes it; None where there is none.
            captured_at: when its picture was taken, by the controller's clock; None for now.

        Raises:
            RuntimeError: before the first reset().
        """
        with self._changed:
            if not self.loop.has_goal:
                raise NotPossibleError("the controller has no goal: call reset(goal) first")
            began = self.clock()
            self.loop.observe(observation, captured_at, began)
            self._changed.notify_all()
            waited = 0.0
            if self.config.wait_first and not self._ending:
                self._wait_for_first_plan()
                waited = self.clock() - began
            now = self.clock()
            if self.clock.fault is not None:
                self.loop.stop("clock", now, self.clock.fault)
            action = self.loop.command(now, waited)
        self._log(now)
        return action

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """End planning, and SAFE_STOP for good. A call of the planner that lasts longer than `timeout` is left alone.

        Raises:
            BaseException: what broke the planning thread, if anything did (a planner's exceptions do not).
        """
        with self._changed:
            self._ending = True
            self.loop.stop("stopped", self.clock())
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)
        if self.recorder is not None and self._owns_recorder:
            self.recorder.close()
        broken, self._broken = self._broken, None
        if broken is not None:
            raise broken

    def __enter__(self) -> RealtimeController:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _check(self) -> None:
        if self._ending:
            raise NotPossibleError("the controller was stopped: make a new one")
        if self._broken is not None:
            raise RuntimeError("the planning thread has ended") from self._broken

    def _wait_for_first_plan(self) -> None:
        """Until there is a plan or a failure, or the loop has something else to do than to wait.

        A robot that moves is not left to itself for longer than a control tick.
        """
        failures, loop = self._failures, self.loop
        self._changed.wait_for(
            lambda: loop.has_plan or not loop.awaits_plan or self._failures != failures or loop.state == "SAFE_STOP",
            self.config.first_seconds if loop.is_at_rest else 1 / loop.control_rate,
        )

    def _log(self, now: float) -> None:
        if self.config.log_seconds is not None and now - self._logged_at >= self.config.log_seconds:
            self._logged_at = now
            log.info("%s", self.statistics.line())
            if self.recorder is not None:
                log.info("%s", self.recorder.line())

    # ------------------------------------------------------------------ the planner's side

    def _run(self) -> None:
        try:
            while self._work():
                pass
        except BaseException as error:  # a fault of ours or of the interpreter: the robot has to stop
            log.exception("the planning thread has ended")
            with self._changed:
                self._broken = error
                self.statistics.error(error)
                self.loop.stop("planning_thread_ended", self.clock())
                self._changed.notify_all()

    def _work(self) -> bool:
        """One thing for the planner to do; False at the end."""
        with self._changed:
            while not self._ending and not self.loop.has_job(self.clock()):
                self._changed.wait(self.config.retry_seconds if self.loop.retries else None)
            if self._ending:
                return False
        job = self.loop.next_job(self.clock())
        reply, failure = None, None
        try:
            if isinstance(job, Command):
                job.tell(self.backend)
            elif job is not None:
                reply = self.backend.plan(job.request)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit, cancellation, a panic: a planner may raise anything
            failure = error
        if job is None:  # a reset was faster
            return True
        now = self.clock()
        if failure is not None:
            self.loop.plan_failed(job, failure, now)
        elif isinstance(job, Command):
            self.loop.acknowledge(job)
        else:
            self.loop.accept_plan(job, reply, now)
        with self._changed:
            self._failures += failure is not None
            self._changed.notify_all()
        return True


def known_of(backend: Backend) -> Mapping[str, Any]:
    """What a backend says of what it plans with: cameras, task, action_kinds, action_measured; None for what not."""
    model = getattr(backend, "model", None)
    if model is not None:
        spec = model.spec
        kinds = {"action_kinds": spec.action_kinds, "action_measured": spec.action_measured}
        return {"cameras": spec.cameras, "task": model.card.get("task"), **kinds}
    told = getattr(backend, "metadata", {})
    return {name: told.get(name) for name in ("cameras", "task", "action_kinds", "action_measured")}


def _copied(goal: Goal) -> Goal:
    """The same in memory of its own.

    Raises:
        ValueError: naming what is no array of numbers.
    """
    goal = declared(goal)
    if isinstance(goal, DECLARED):
        return goal
    if isinstance(goal, Mapping):
        return {name: _own(str(name), value) for name, value in goal.items()}
    return _own("pixels", goal)


def _own(name: str, value: Any) -> NDArray[Any]:
    try:
        own = np.array(value)
    except Exception as error:
        raise UserError(f"goal: {name} cannot be read as an array: {described(error)}") from error
    if own.dtype.kind not in "biuf":
        raise UserError(f"goal: {name} must be an array of numbers, got a {type(value).__name__}")
    return own
