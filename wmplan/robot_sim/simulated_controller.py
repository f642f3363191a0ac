"""The real-time loop in simulated time: the decisions of RealtimeController without its thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.control.backend import Backend, Goal
from wmplan.control.realtime.config import RealtimeConfig
from wmplan.control.realtime.controller import LoopStatus, known_of
from wmplan.control.realtime.state_machine import Command, ControlLoop, PlanJob
from wmplan.control.safety.limits import Limits
from wmplan.robot_sim.simulated_clock import SimulatedClock


class CallTime:
    """The time inside of a call to the planner, which runs at one moment of the clock and takes simulated time."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock, self.elapsed, self.running = clock, 0.0, False

    def __call__(self) -> float:
        return self.clock() + self.elapsed

    def wait(self, seconds: float) -> None:
        """Let so much time pass in the call; before the robot moves, calls take none."""
        if self.running:
            self.elapsed += seconds


class SimulatedController(LoopStatus):
    """RealtimeController's calls over a SimulatedClock; the planner's answer comes after the time that its call took.

    Args:
        make_backend: gives what plans; it has to tell the time that it takes to the CallTime it is given.
    """

    def __init__(
        self,
        make_backend: Callable[[CallTime], Backend],
        limits: Limits,
        control_rate: float,
        config: RealtimeConfig,
        clock: SimulatedClock,
        step_rate: float,
    ) -> None:
        self.clock, self.call = clock, CallTime(clock)
        self.backend = make_backend(self.call)
        self.loop = ControlLoop(limits.knowing(known_of(self.backend)), control_rate, step_rate, config)
        self._ends = 0.0  # when the planner ends what it is at

    def reset(self, goal: Goal, seed: int = 0, *, at_rest: bool = False) -> None:
        """Begin again, once the planner has ended what it is at."""
        self.clock.sleep_until(self._ends)
        self.call.running = False
        self.loop.reset(goal, seed, self.clock(), at_rest)
        self._work()

    def start(self) -> None:
        """From now on planning takes time."""
        self.call.running = True

    def act(self, observation: Mapping[str, Any], captured_at: float | None = None) -> NDArray[np.float32]:
        """The action (a,) of this control tick."""
        now = self.clock()
        self.loop.observe(observation, captured_at, now)
        if not self.call.running:
            self._work()
        action = self.loop.command(now)
        self._work()
        return action

    def stop(self) -> None:
        """Nothing has to be ended."""

    def _work(self) -> None:
        """What the planning thread does: one job after another, as long as there are any."""
        while not self.loop.working:
            job = self.loop.next_job(self.clock())
            if job is None:
                return
            self.call.elapsed = 0.0
            finish = self._do(job)
            if self.call.elapsed > 0:
                self._ends = self.call()
                self.clock.at(self._ends, partial(self._finish, finish))
                self.call.elapsed = 0.0
                return
            finish()

    def _finish(self, finish: Callable[[], None]) -> None:
        finish()
        self._work()

    def _do(self, job: Command | PlanJob) -> Callable[[], None]:
        """Call the planner; what is returned tells the loop, when the time has come."""
        try:
            if isinstance(job, Command):
                job.tell(self.backend)
                return lambda: self.loop.acknowledge(job)
            reply = self.backend.plan(job.request)
            return lambda: self.loop.accept_plan(job, reply, self.clock())
        except Exception as error:
            failure = error
            return lambda: self.loop.plan_failed(job, failure, self.clock())
