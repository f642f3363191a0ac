"""A control loop in simulated time, with a planner whose plans say which robot step each action is for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from wmplan.control.backend import PlanReply, PlanRequest
from wmplan.control.realtime.config import RealtimeConfig
from wmplan.control.realtime.state_machine import Command, ControlLoop, PlanJob
from wmplan.control.safety.limits import Limits

GOAL = {"pixels": np.zeros((4, 4, 3), np.uint8)}
WIDE = Limits((-1.0, -1.0), (1.0, 1.0))


def label(step: int, plan: int) -> list[float]:
    """The action that plan number `plan` has for robot step `step`."""
    return [((step * 7) % 199) / 200, plan / 1000]


@dataclass
class Answer:
    """What a call of the planner comes to: after `seconds`, a reply, an exception, or a spoilt reply."""

    seconds: float
    error: Exception | None = None
    spoil: Callable[[PlanReply], PlanReply] = lambda reply: reply


class Simulation:
    """Ticks of a ControlLoop and calls of its planner, one after another in simulated time.

    Attributes:
        sent: action, state and robot step of each tick. requests: what was asked, with the frame's robot step as
            the planner counts it, the time and the plan's number. plans: (first robot step, one past the last,
            delivered at, number) of those that were delivered whole.
    """

    def __init__(
        self,
        limits: Limits = WIDE,
        config: RealtimeConfig | None = None,
        rate: float = 10.0,
        step_rate: float | None = None,
        answer: Callable[[float], Answer] = lambda now: Answer(0.03),
        length: int = 20,
        actions: Callable[[int, int], list[float]] = label,
    ) -> None:
        self.config = config or RealtimeConfig(warmup=0, log_seconds=None)
        self.loop = ControlLoop(limits, rate, step_rate or rate, self.config)
        self.rate, self.answer, self.length, self.actions = rate, answer, length, actions
        self.now, self.frame = 0.0, 0
        self.sent: list[np.ndarray] = []
        self.states: list[str] = []
        self.requests: list[tuple[PlanRequest, int, float]] = []
        self.plans: list[tuple[int, int, float, int]] = []
        self.told: list[Command] = []
        self.seen_step: int | None = None  # robot step of the planner's last frame
        self._busy: tuple[float, Callable[[], None]] | None = None

    def reset(self, seed: int = 0, goal: Any = GOAL) -> None:
        self.loop.reset(goal, seed, self.now)
        self.first_tick = len(self.sent)

    def picture(self, number: int | None = None) -> dict[str, np.ndarray]:
        """A frame that differs from all others, and the robot's state."""
        self.frame += 1
        number = self.frame if number is None else number
        pixels = np.full((4, 4, 3), number % 251, np.uint8)
        pixels[0, 0, 0] = number // 251 % 256
        return {"pixels": pixels, "proprio": np.zeros(2, np.float32)}

    def tick(self, observation: Any = "new", age: float = 0.0, after: float | None = None) -> np.ndarray:
        """The next control tick, `after` seconds (a period) after the one before; the action sent."""
        self.run(self.now + (1 / self.rate if after is None else after))
        observation = self.picture() if isinstance(observation, str) else observation
        self.loop.observe(observation, self.now - age, self.now)
        self._pump()
        action = self.loop.command(self.now)
        self._pump()
        self.sent.append(action)
        self.states.append(self.loop.state)
        return action

    def run(self, until: float) -> None:
        """Let time pass."""
        while self._busy is not None and self._busy[0] <= until:
            self.now, finish = max(self.now, self._busy[0]), self._busy[1]
            self._busy = None
            finish()
            self._pump()
        self.now = until

    def _pump(self) -> None:
        while self._busy is None:
            job = self.loop.next_job(self.now)
            if job is None:
                return
            answer = self.answer(self.now)
            if isinstance(job, PlanJob):
                self._busy = self.now + answer.seconds, self._plan(job, answer)
            else:
                self._busy = self.now + min(answer.seconds, 0.001), self._tell(job, answer.error)

    def _tell(self, command: Command, error: Exception | None) -> Callable[[], None]:
        def finish() -> None:
            if error is not None:
                self.loop.plan_failed(command, error, self.now)
                return
            self.told.append(command)
            if command.seed is not None:
                self.seen_step = None
            self.loop.acknowledge(command)

        return finish

    def _plan(self, job: PlanJob, answer: Answer) -> Callable[[], None]:
        request = job.request
        assert request.executed is not None and request.committed is not None
        step = job.frame.step if self.seen_step is None else self.seen_step + len(request.executed)
        number = len(self.requests)
        self.requests.append((request, step, self.now))
        begin = step + len(request.committed)

        def finish() -> None:
            if answer.error is not None:
                self.loop.plan_failed(job, answer.error, self.now)
                return
            self.seen_step = step
            rows = np.array([self.actions(begin + row, number) for row in range(self.length)], np.float32)
            reply = answer.spoil(PlanReply(rows, request.epoch, 1.0, 1e3 * answer.seconds))
            whole = math.isfinite(reply.cost) and reply.actions.shape == rows.shape and np.isfinite(reply.actions).all()
            if whole and job.epoch == self.loop.epoch:
                self.plans.append((begin, begin + len(rows), self.now, number))
            self.loop.accept_plan(job, reply, self.now)

        return finish


@pytest.fixture
def simulate() -> type[Simulation]:
    return Simulation


@pytest.fixture
def answer() -> type[Answer]:
    return Answer
