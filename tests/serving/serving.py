"""For tests of server and client: a server in a thread of this process, and a planner whose every reply is known."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from wmplan.control.backend import PlanReply, PlanRequest
from wmplan.serving import Bounds, PolicyServer, ServerConfig
from wmplan.serving.messages import Shapes
from wmplan.serving.wire import unpack

SHAPES = Shapes(cameras=("pixels",), image_size=(8, 8), proprio_dim=2, action_dim=2, plan_steps=15)
METADATA = {
    "protocol": "wmplan/1",
    "action_horizon": 5,
    "action_low": [-1.0, -1.0],
    "action_high": [1.0, 1.0],
    "action_dim": 2,
    "control_rate": 10.0,
    "horizon": 15,
    "image_size": [8, 8],
    "cameras": ["pixels"],
    "proprio_dim": 2,
    "model": "known",
    "task": None,
}
TOKEN = "a-token-of-the-tests"


class KnownSession:
    """Its reply tells goal, seed, number of frames since the reset, and the newest frame."""

    def __init__(self) -> None:
        self.goal = self.seed = self.frames = 0
        self.goals = 0  # how often one was set

    def set_goal(self, goal: Any) -> None:
        frame = goal["pixels"] if isinstance(goal, dict) else goal
        self.goal, self.goals = int(frame[0, 0, 0]), self.goals + 1

    def reset(self, seed: int) -> None:
        self.seed, self.frames = seed, 0

    def plan(self, request: PlanRequest) -> PlanReply:
        self.frames += 1
        seen = int(request.observation["pixels"][0, 0, 0])
        committed = 0 if request.committed is None else len(request.committed)
        actions = np.full((SHAPES.plan_steps - committed, 2), [self.goal / 100, seen / 100], np.float32)
        return PlanReply(actions, request.epoch, cost=1000 * self.seed + self.frames, plan_ms=1.0, surprise=None)


class KnownPlanner:
    """plan_batch and make_session for KnownSessions.

    Attributes:
        gate: while it is cleared, planning waits.
        begun: set once planning has begun.
        batches: sessions in each batch so far.
        poison: a frame's value at which the whole batch fails.
    """

    def __init__(self) -> None:
        self.gate, self.begun = threading.Event(), threading.Event()
        self.gate.set()
        self.batches: list[int] = []
        self.sessions: list[KnownSession] = []
        self.poison: int | None = None

    def make_session(self) -> KnownSession:
        self.sessions.append(KnownSession())
        return self.sessions[-1]

    def plan_batch(self, sessions: Sequence[KnownSession], requests: Sequence[PlanRequest]) -> list[PlanReply]:
        self.begun.set()
        assert self.gate.wait(60)
        assert len(set(map(id, sessions))) == len(sessions)
        self.batches.append(len(sessions))
        if any(int(one.observation["pixels"][0, 0, 0]) == self.poison for one in requests):
            raise ValueError("a frame that cannot be planned from")
        return [session.plan(request) for session, request in zip(sessions, requests, strict=True)]


@contextmanager
def running(server: PolicyServer) -> Iterator[PolicyServer]:
    """The server, listening in a thread of its own; `server.submit(coroutine)` runs one on its loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="server under test")
    thread.start()

    def submit(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop)

    server.submit = submit  # type: ignore[attr-defined]
    try:
        submit(server.start()).result(60)
        yield server
    finally:
        submit(server.stop()).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


def known_server(
    planner: KnownPlanner, *, token: str | None = None, goal: Any = None, port: int = 0, **bounds: Any
) -> PolicyServer:
    config = ServerConfig(port=port, token=token, bounds=Bounds(**bounds))
    return PolicyServer(METADATA, SHAPES, planner.make_session, planner.plan_batch, config, goal)


def frame(value: int) -> np.ndarray:
    return np.full((8, 8, 3), value, np.uint8)


def observation(value: int, **more: Any) -> dict[str, Any]:
    return {"pixels": frame(value), "proprio": np.zeros(2, np.float32), **more}


def reply_of(data: str | bytes) -> Any:
    assert isinstance(data, bytes), data
    return unpack(data)


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


Serve = Callable[..., PolicyServer]
