"""Planning beside the event loop: one thread, which plans all requests that wait in one batch."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from wmplan.control.backend import Goal, PlanReply, PlanRequest
from wmplan.serving.quotes import one_line

log = logging.getLogger(__name__)


class Session(Protocol):
    """One robot's planner: its goal, history and random numbers."""

    def set_goal(self, goal: Goal) -> None:
        """Head for another goal."""

    def reset(self, seed: int) -> None:
        """Forget what was seen and done."""


PlanBatch = Callable[[Sequence[Any], Sequence[PlanRequest]], Sequence[PlanReply]]
"""Plans one request for each of several sessions; what one is told does not depend on the others."""


@dataclass(eq=False)
class _Job:
    """What waits for the thread: a request of a session, or where there is none, a call."""

    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    since: float
    session: Any = None
    request: PlanRequest | None = None
    call: Callable[[], Any] | None = None

    def left_ms(self) -> float:
        """What is left of the request's time; infinite where it has no deadline."""
        if self.request is None or self.request.deadline_ms is None:
            return math.inf
        return max(0.0, self.request.deadline_ms - 1e3 * (time.monotonic() - self.since))

    def current_request(self) -> PlanRequest:
        """The request, with what is left of its time."""
        assert self.request is not None
        left = self.left_ms()
        return self.request if math.isinf(left) else replace(self.request, deadline_ms=left)

    def answer(self, value: Any, error: BaseException | None = None) -> None:
        """Hand the outcome to whoever waits, if anyone still does."""

        def settle() -> None:
            if self.future.done():  # the client has gone
                return
            if error is None:
                self.future.set_result(value)
            else:
                self.future.set_exception(error)

        try:
            self.loop.call_soon_threadsafe(settle)
        except RuntimeError:  # the loop has ended: nobody waits any more
            log.debug("an answer came after the end")


class PlanningThread:
    """Runs what the sessions ask for, one thing after another, requests of several sessions in one batch.

    Args:
        plan_batch: what plans.
        gather_ms: how long a batch waits for sessions that were in the last one too.
        max_batch: sessions in one batch.

    Attributes:
        batches, planned: batches so far, and requests in them.
    """

    def __init__(self, plan_batch: PlanBatch, gather_ms: float = 2.0, max_batch: int = 16) -> None:
        self.plan_batch, self.gather, self.max_batch = plan_batch, gather_ms / 1e3, max_batch
        self.batches = self.planned = 0
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._ending = False
        self._begun: float | None = None  # when what is being run began
        self._last_size, self._last_ms = 1, 0.0
        self._thread = threading.Thread(target=self._run, name="planning", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Finish what waits, and end; what is not finished after `timeout` seconds is given up."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(timeout)

    @property
    def alive(self) -> bool:
        """Whether anything would be answered."""
        return self._thread.is_alive()

    @property
    def busy_seconds(self) -> float:
        """For how long the thread has been at what it does now."""
        begun = self._begun
        return 0.0 if begun is None else time.monotonic() - begun

    async def plan(self, session: Any, request: PlanRequest) -> PlanReply:
        """The reply to one request of a session, which must not have another one waiting.

        Raises:
            Exception: what planning raised.
        """
        return await self._put(session=session, request=request)

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The value of function(*arguments), called in the thread."""
        return await self._put(call=lambda: function(*arguments))

    async def _put(self, **what: Any) -> Any:
        loop = asyncio.get_running_loop()
        job = _Job(loop.create_future(), loop, time.monotonic(), **what)
        with self._changed:
            if self._ending or not self.alive:
                raise RuntimeError("the planning thread has ended")
            self._jobs.append(job)
            self._changed.notify()
        return await job.future

    # ------------------------------------------------------------------ in the thread

    def _run(self) -> None:
        while jobs := self._next():
            self._begun = time.monotonic()
            if jobs[0].call is not None:
                _settle(jobs[0], jobs[0].call)
            else:
                for together in self._by_deadline(jobs):
                    self._plan(together)
            self._begun = None

    def _next(self) -> list[_Job]:
        """The oldest call, or if a request is older, all requests that wait; nothing at the end."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._ending)
                if self._last_size > 1:
                    self._changed.wait_for(lambda: len(self._jobs) >= self._last_size or self._ending, self.gather)
                self._jobs = deque(job for job in self._jobs if not job.future.done())  # a client may have gone
                if self._jobs and self._jobs[0].call is not None:
                    return [self._jobs.popleft()]
                taken = [job for job in self._jobs if job.call is None][: self.max_batch]
                self._jobs = deque(job for job in self._jobs if job not in taken)
                if taken or self._ending:
                    return taken

    def _by_deadline(self, jobs: list[_Job]) -> list[list[_Job]]:
        """The requests in batches, the most urgent first.

        A batch ends at its earliest deadline, and no one may cut short what another is told. So only requests that
        leave as much time as the last batch took, or about the same time as one another, are planned together.
        """
        self._last_size = len(jobs)
        groups: dict[float, list[_Job]] = {}
        for job in jobs:
            left = job.left_ms()
            urgency = math.inf if left >= self._last_ms else math.floor(math.log2(max(left, 1.0)))
            groups.setdefault(urgency, []).append(job)
        return [groups[urgency] for urgency in sorted(groups)]

    def _plan(self, jobs: list[_Job]) -> None:
        begun = time.monotonic()
        self._plan_together(jobs)
        self._last_ms = 1e3 * (time.monotonic() - begun)

    def _plan_together(self, jobs: list[_Job]) -> None:
        self.batches += 1
        self.planned += len(jobs)
        requests = [job.current_request() for job in jobs]
        try:
            replies = self.plan_batch([job.session for job in jobs], requests)
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].answer(None, error)
                return
            log.warning("a batch of %d failed, so each is planned alone: %s", len(jobs), one_line(error))
            for job, request in zip(jobs, requests, strict=True):
                _settle(job, partial(self._alone, job.session, request))
            return
        for job, reply in zip(jobs, replies, strict=True):
            job.answer(reply)

    def _alone(self, session: Any, request: PlanRequest) -> PlanReply:
        return self.plan_batch([session], [request])[0]


def _settle(job: _Job, function: Callable[[], Any]) -> None:
    try:
        job.answer(function())
    except Exception as error:
        job.answer(None, error)
