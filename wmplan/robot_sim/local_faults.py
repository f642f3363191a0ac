"""The faults of network, server and planner for a planner of this process."""

from __future__ import annotations

from collections.abc import Callable

from wmplan.control.backend import Backend, Goal, PlanReply, PlanRequest
from wmplan.robot_sim.faults import FaultSchedule

TIMEOUT = 2.0  # seconds that a call waits for an answer, as PolicyClient does


class LinkDown(ConnectionError):
    """There was no answer."""


class FaultyBackend:
    """A Backend that is late, or does not answer, while a fault lasts, as one behind a network would be.

    A killed server has forgotten its session when it is there again: goal and seed are then given to it anew.

    Args:
        backend: what plans.
        wait: waits so many seconds of the robot's time.
    """

    def __init__(self, backend: Backend, wait: Callable[[float], None]) -> None:
        self.backend, self.wait = backend, wait
        self._faults, self._moment = FaultSchedule(), _never
        self._goal: Goal | None = None
        self._seed = 0
        self._lost = False  # whether the session is

    def begin(self, faults: FaultSchedule, moment: Callable[[], float]) -> None:
        """Let these faults happen; `moment` gives the seconds since the start of the episode."""
        self._faults, self._moment = faults, moment

    def rest(self) -> None:
        """Let nothing go wrong until the next begin()."""
        self.begin(FaultSchedule(), _never)

    def set_goal(self, goal: Goal) -> None:
        self._goal = goal
        self._reach()
        self.backend.set_goal(goal)

    def reset(self, seed: int) -> None:
        self._seed = seed
        self._reach()
        self.backend.reset(seed)

    def plan(self, request: PlanRequest) -> PlanReply:
        self._reach()
        if self._lost:
            self.backend.reset(self._seed)
            if self._goal is not None:
                self.backend.set_goal(self._goal)
            self._lost = False
        reply = self.backend.plan(request)
        if late := self._size("planner_slow"):
            self.wait(late)
        self._reach()
        return reply

    def _size(self, kind: str) -> float | None:
        return self._faults.size(kind, self._moment())

    def _reach(self) -> None:
        """One way through the network.

        Raises:
            LinkDown: if the server is down, or the network is for longer than a call waits.
        """
        waited = 0.0
        while self._size("network_lost") is not None:
            if waited >= TIMEOUT:
                self._lost = True
                raise LinkDown(f"no answer within {TIMEOUT:g} s")
            self.wait(0.02)
            waited += 0.02
        if self._size("server_killed") is not None:
            self._lost = True
            raise LinkDown("the server is down")
        if late := self._size("network_slow"):
            self.wait(late)


def _never() -> float:
    """Before any episode."""
    return -1.0


class TimedBackend:
    """A Backend whose plans take a given time.

    Args:
        wait: waits so many seconds of the robot's time.
        seconds: that each plan takes.
    """

    def __init__(self, backend: Backend, wait: Callable[[float], None], seconds: float) -> None:
        self.backend, self.wait, self.seconds = backend, wait, seconds

    def set_goal(self, goal: Goal) -> None:
        self.backend.set_goal(goal)

    def reset(self, seed: int) -> None:
        self.backend.reset(seed)

    def plan(self, request: PlanRequest) -> PlanReply:
        reply = self.backend.plan(request)
        self.wait(self.seconds)
        return reply
