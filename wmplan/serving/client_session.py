"""One client's session: it is told the metadata, then every message of its gets one reply."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from wmplan.control.backend import Goal
from wmplan.control.realtime.telemetry import Series
from wmplan.serving.batcher import PlanningThread, Session
from wmplan.serving.config import ServerConfig
from wmplan.serving.messages import Infer, MessageError, Reset, SetGoal, Shapes, read_message
from wmplan.serving.metrics import ServerMetrics, percentiles_ms
from wmplan.serving.quotes import close_reason, one_line, whole_traceback
from wmplan.serving.rate_limit import Throttle
from wmplan.serving.wire import WireError, pack, unpack

log = logging.getLogger(__name__)

MAX_WRONG = 20  # wrong messages in a row
AWAY, INVALID, POLICY, INTERNAL, TRY_LATER = 1001, 1007, 1008, 1011, 1013  # close codes of RFC 6455 and its registry


class EndSession(Exception):
    """The server has to end the session.

    Attributes:
        reason: a word for the metrics.
        code: for the closing handshake.
        text: what the client is told, and the log: one line, however much of the client's message is quoted in it.
    """

    def __init__(self, reason: str, code: int, text: str) -> None:
        super().__init__(text)
        self.reason, self.code, self.text = reason, code, one_line(text)


@dataclass(frozen=True)
class Served:
    """What all sessions share.

    Attributes:
        metadata: the first message to every client.
        shapes: what the model takes.
        make_session: a planner for one more robot.
        planning: where it plans.
        goal: what sessions head for until they say otherwise, None for nothing.
        end_session: is told of a session whose client has gone.
    """

    metadata: Mapping[str, Any]
    shapes: Shapes
    make_session: Callable[[], Session]
    planning: PlanningThread
    metrics: ServerMetrics
    config: ServerConfig
    goal: Goal | None = None
    end_session: Callable[[Any], None] = lambda session: None


class Conversation:
    """Talks with one client until either side ends it.

    Attributes:
        busy: whether a message is being answered.
        since: when the session began, by the monotonic clock.
        is_silent: whether no message has come yet.
    """

    def __init__(self, served: Served, connection: ServerConnection) -> None:
        self.served, self.connection = served, connection
        self.busy = self.ending = False
        self.since, self.is_silent = time.monotonic(), True
        self.session: Session | None = None
        self.goal_frame: Any = None  # the newest goal's frame, where there is one camera
        self.plan_seconds, self.infer_seconds = Series(), Series()
        self.wrong = 0
        self.task: asyncio.Task[Any] | None = None
        self._closing: asyncio.Task[None] | None = None

    def abort(self) -> None:
        """Give up what is under way, and drop the client."""
        self.connection.transport.abort()
        if self.task is not None:
            self.task.cancel()

    def end(self) -> None:
        """Answer what is under way, and then close."""
        self.ending = True

    def give_way(self) -> None:
        """Close for another client, no message having come yet."""
        self.ending = True
        text = "a session that has sent no message makes room for another"
        self._closing = asyncio.get_running_loop().create_task(self.connection.close(TRY_LATER, text))

    async def run(self) -> None:
        """Talk until the end. What a client does wrong is answered or ends the session, and raises nothing."""
        self.task = asyncio.current_task()
        config, throttle = self.served.config, Throttle(self.served.config.bounds.max_rate)
        total_ms: float | None = None
        try:
            await self._send(pack(dict(self.served.metadata)))
            while not self.ending:
                data = await self._receive()
                self.busy, self.is_silent, began = True, False, time.monotonic()
                await self._send(await self._answer(data, began, total_ms))
                total_ms = 1e3 * (time.monotonic() - began)
                self.busy = False
                if pause := throttle.wait(time.monotonic()):
                    await asyncio.sleep(pause)
            await self.connection.close(AWAY, "the server ends")
        except EndSession as end:
            self.served.metrics.ended[end.reason] += 1
            log.info("session of %s ended: %s", who(self.connection), end.text)
            if end.reason == "slow":
                self.connection.transport.abort()
                return
            try:
                async with asyncio.timeout(config.bounds.slow_seconds):
                    await self.connection.send(end.text)
                    await self.connection.close(end.code, close_reason(end.text))
            except (TimeoutError, ConnectionClosed):
                self.connection.transport.abort()
        except ConnectionClosed as closed:
            if closed.sent is not None and not closed.rcvd_then_sent:  # ours: too large, no pong, bad frames
                self.served.metrics.ended[_reason(closed.sent.code)] += 1
        finally:
            self.busy = False
            if self.session is not None:
                self.served.end_session(self.session)

    async def _receive(self) -> bytes:
        try:
            async with asyncio.timeout(self.served.config.bounds.idle_seconds):
                data = await self.connection.recv()
        except TimeoutError:
            raise EndSession("idle", AWAY, f"no message for {self.served.config.bounds.idle_seconds:g} s") from None
        if isinstance(data, str):
            self.served.metrics.wrong["wire"] += 1
            raise EndSession("wire", INVALID, "a text came; messages are binary, packed with msgpack")
        return data

    async def _send(self, data: bytes | str) -> None:
        try:
            async with asyncio.timeout(self.served.config.bounds.slow_seconds):
                await self.connection.send(data)
        except TimeoutError:
            raise EndSession("slow", POLICY, "the client did not take its reply in time") from None

    async def _answer(self, data: bytes, began: float, total_ms: float | None) -> bytes | str:
        """The reply: packed, or a text that says what was wrong, as openpi's clients expect it."""
        metrics = self.served.metrics
        try:
            message = read_message(unpack(data), self.served.shapes)
            reply = await self._reply(message)
        except WireError as error:
            metrics.wrong["wire"] += 1
            raise EndSession("wire", INVALID, str(error)) from None
        except ValueError as error:
            metrics.wrong["message" if isinstance(error, MessageError) else "planning"] += 1
            self.wrong += 1
            if self.wrong >= MAX_WRONG:
                text = f"{MAX_WRONG} wrong messages in a row, the last: {error}"
                raise EndSession("wrong", POLICY, text) from None
            return one_line(error)
        except Exception as error:
            log.error("a message of %s could not be answered\n%s", who(self.connection), whole_traceback(error))
            text = f"the server failed ({type(error).__name__}); its log says more"
            raise EndSession("failure", INTERNAL, text) from error
        self.wrong = 0
        if isinstance(message, Infer):
            infer_ms = 1e3 * (time.monotonic() - began)
            for one in (metrics, self):
                one.infer_seconds.add(infer_ms / 1e3)
                one.plan_seconds.add(reply["plan_ms"] / 1e3)
            reply["server_timing"] = {"infer_ms": infer_ms}
            if total_ms is not None:
                reply["server_timing"]["prev_total_ms"] = total_ms
        return pack(reply)

    async def _reply(self, message: Any) -> dict[str, Any]:
        planning, kind = self.served.planning, _kind(message)
        self.served.metrics.messages[kind] += 1
        if kind == "statistics":
            return {"wmplan": kind, "statistics": self.statistics()}
        session = await self._own_session()
        if isinstance(message, SetGoal):
            await self._set_goal(session, message.goal)
            return {"wmplan": kind}
        if isinstance(message, Reset):
            await planning.call(session.reset, message.seed)
            return {"wmplan": kind}
        assert isinstance(message, Infer)
        if message.goal is not None and not np.array_equal(message.goal, self.goal_frame):
            await self._set_goal(session, {self.served.shapes.cameras[0]: message.goal})
        if self.goal_frame is None:
            raise MessageError("there is no goal yet: send a set_goal message, or the goal's frame as goal")
        reply = await planning.plan(session, message.request)
        if not np.isfinite(reply.actions).all():
            raise RuntimeError("the plan holds numbers that are not finite")
        return {
            "actions": np.asarray(reply.actions, np.float32),
            "epoch": reply.epoch,
            "cost": float(reply.cost),
            "plan_ms": float(reply.plan_ms),
            "surprise": None if reply.surprise is None else float(reply.surprise),
            "feasible": bool(reply.feasible),
        }

    async def _own_session(self) -> Session:
        """The session's planner, made when it is first needed."""
        if self.session is None:
            session: Session = await self.served.planning.call(self.served.make_session)
            if self.served.goal is not None:
                await self._set_goal(session, self.served.goal)
            self.session = session
        return self.session

    async def _set_goal(self, session: Session, goal: Goal) -> None:
        await self.served.planning.call(session.set_goal, goal)
        self.goal_frame = goal[self.served.shapes.cameras[0]] if isinstance(goal, Mapping) else goal

    def statistics(self) -> dict[str, Any]:
        """Of this session: requests so far, and p50, p95, p99 of the newest thousand, in ms."""
        return {
            "plans": self.plan_seconds.count,
            "plan_ms": percentiles_ms(self.plan_seconds),
            "infer_ms": percentiles_ms(self.infer_seconds),
            "sessions": self.served.metrics.sessions,
        }


def _kind(message: Any) -> str:
    return {"Infer": "infer", "SetGoal": "set_goal", "Reset": "reset"}.get(type(message).__name__, "statistics")


def _reason(code: int) -> str:
    return {1001: "away", 1002: "protocol", 1007: "protocol", 1009: "size", 1011: "slow", 1013: "silent"}.get(
        code, "other"
    )


def who(connection: ServerConnection) -> str:
    """The client's address, for the log."""
    address = connection.remote_address
    if not isinstance(address, tuple):
        return "a client"
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
