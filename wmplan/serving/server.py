"""The websocket server: it listens, lets clients in, and ends without leaving a reply behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import ssl
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

from websockets.asyncio.server import Server, ServerConnection, serve

from wmplan.control.backend import Goal
from wmplan.errors import UserError
from wmplan.serving.auth import Door
from wmplan.serving.batcher import PlanBatch, PlanningThread, Session
from wmplan.serving.client_session import AWAY, TRY_LATER, Conversation, Served, who
from wmplan.serving.config import ServerConfig
from wmplan.serving.connection import Connection
from wmplan.serving.handshakes import Handshakes, network_of
from wmplan.serving.messages import Shapes
from wmplan.serving.metrics import ServerMetrics
from wmplan.serving.quotes import whole_traceback

log = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 5.0
SPARE_HANDSHAKES = 16  # that one address may have under way beside as many as there may be sessions
ADDRESSES = 4  # that may have as many under way as one address may
SILENT_SECONDS = 10.0  # without its first message, after which a session makes room where there is none
STUCK_SECONDS = 30.0  # of planning without an end, after which /healthz says so


class PolicyServer:
    """Serves one model's planning to robots.

    Args:
        metadata: the first message to every client.
        shapes: what the model takes.
        make_session: a planner for one more robot.
        plan_batch: plans requests of several of them at once.
        config: addresses, token and bounds.
        goal: what sessions head for until they say otherwise.
        end_session: is told of a session whose client has gone.

    Attributes:
        metrics: what was counted so far.
        port: where it listens, once started.
    """

    def __init__(
        self,
        metadata: Mapping[str, Any],
        shapes: Shapes,
        make_session: Callable[[], Session],
        plan_batch: PlanBatch,
        config: ServerConfig,
        goal: Goal | None = None,
        end_session: Callable[[Any], None] = lambda session: None,
    ) -> None:
        needed = 2 * len(shapes.cameras) * 3 * shapes.image_size[0] * shapes.image_size[1] + 65536  # frames and goal
        if config.bounds.max_message_bytes < needed:
            raise UserError(
                f"max_message_bytes is {config.bounds.max_message_bytes}, this model's frames need {needed}"
            )
        self.config, self.metrics = config, ServerMetrics()
        self.planning = PlanningThread(plan_batch, config.bounds.gather_ms, config.bounds.max_batch)
        self.served = Served(metadata, shapes, make_session, self.planning, self.metrics, config, goal, end_session)
        self.conversations: set[Conversation] = set()
        self.connections: set[Connection] = set()
        of_one = config.bounds.max_sessions + SPARE_HANDSHAKES
        self.handshakes: Handshakes[Connection] = Handshakes(of_one, ADDRESSES * of_one)
        self.handshake_seconds = HANDSHAKE_SECONDS
        self.tls: ssl.SSLContext | None = None
        self.port = config.port
        self._draining = False
        self._server: Server | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: if the address is taken or not this machine's.
            UserError: naming a certificate that cannot be used.
        """
        config, quiet = self.config, logging.getLogger(f"{__name__}.websockets")
        quiet.setLevel(logging.CRITICAL)  # what clients do wrong is counted, not logged line by line
        self.tls = config.tls()
        door = Door(config.token, self._full, self.unwell, self.metrics_text, self._refused)
        self.planning.start()
        self._server = await serve(
            self._talk,
            config.host,
            config.port,
            process_request=door,
            create_connection=cast(Any, partial(Connection, self)),
            compression=None,  # frames hardly shrink, and a small message cannot become a large one
            max_size=config.bounds.max_message_bytes,
            max_queue=1,
            open_timeout=self.handshake_seconds,
            close_timeout=min(config.bounds.slow_seconds, self.handshake_seconds),
            ping_interval=config.bounds.slow_seconds,
            ping_timeout=config.bounds.slow_seconds,
            server_header=None,
            logger=quiet,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        """Let no one in, answer what is under way for at most `drain_seconds`, and close."""
        if self._server is None or self._draining:
            return
        self._draining = True
        self._server.close(close_connections=False)
        for conversation in self.conversations:
            conversation.end()
        idle = [one.connection.close(AWAY, "the server ends") for one in self.conversations if not one.busy]
        closing = asyncio.gather(*idle, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.bounds.drain_seconds):
                await closing
                await self._server.wait_closed()
        for conversation in list(self.conversations):
            conversation.abort()
        for connection in list(self.connections):
            connection.drop()
        await self._server.wait_closed()
        self.planning.stop(timeout=0.0 if self.planning.busy_seconds else 1.0)

    async def run(self, ready: Callable[[PolicyServer], None] = lambda server: None) -> None:
        """Serve until SIGTERM or SIGINT. `ready` is called once the server listens."""
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for one in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(one, ended.set)
        await self.start()
        try:
            ready(self)
            await ended.wait()
            log.info("ending: %d sessions", self.metrics.sessions)
        finally:
            await self.stop()

    def unwell(self) -> str | None:
        """Why nothing would be planned now, None where all is well."""
        if self._draining:
            return "ending"
        if not self.planning.alive:
            return "planning has ended"
        if self.planning.busy_seconds > STUCK_SECONDS:
            return f"planning has been busy for more than {STUCK_SECONDS:g} s"
        return None

    def metrics_text(self) -> str:
        """What is counted and timed, in Prometheus' text format."""
        return self.metrics.text(self.planning.planned, self.planning.batches)

    # ------------------------------------------------------------------ connections and sessions

    def accepted(self, connection: Connection) -> None:
        """Count a connection, and drop the one that has to go for it."""
        self.connections.add(connection)
        dropped = self.handshakes.begin(connection, network_of(connection.peer))
        if dropped is not None:
            self._refused("connections")
            dropped.drop()

    def lost(self, connection: Connection) -> None:
        """Count a connection no more."""
        self.connections.discard(connection)
        self.handshakes.end(connection)

    def _full(self, connection: ServerConnection) -> bool:
        """Whether there is no room for one more session of that address, even without those that say nothing."""
        bounds, address = self.config.bounds, network_of(connection.remote_address)
        if bounds.max_sessions_per_address is not None:
            mine = [one for one in self.conversations if network_of(one.connection.remote_address) == address]
            if len(mine) >= bounds.max_sessions_per_address and not self._make_room(mine):
                return True
        return self.metrics.sessions >= bounds.max_sessions and not self._make_room(list(self.conversations))

    def _make_room(self, conversations: list[Conversation]) -> bool:
        """End the one of these sessions that has been open for longest without a word, if there is any."""
        latest = time.monotonic() - SILENT_SECONDS
        silent = [one for one in conversations if one.is_silent and one.since < latest]
        if not silent:
            return False
        oldest = min(silent, key=lambda one: one.since)
        self._leave(oldest)
        oldest.give_way()
        return True

    def _refused(self, reason: str) -> None:
        self.metrics.refused[reason] += 1

    async def _talk(self, connection: ServerConnection) -> None:
        self.handshakes.end(cast(Connection, connection))
        if self._full(connection):  # several were let in at once
            self._refused("full")
            await connection.close(TRY_LATER, "no room for another session")
            return
        conversation = Conversation(self.served, connection)
        self.conversations.add(conversation)
        self.metrics.sessions += 1
        self.metrics.opened += 1
        try:
            await conversation.run()
        except Exception as error:  # a bug of ours: websockets tells the client no more than that there was one
            log.error("the session of %s failed\n%s", who(connection), whole_traceback(error))
            raise
        finally:
            self._leave(conversation)

    def _leave(self, conversation: Conversation) -> None:
        if conversation in self.conversations:
            self.conversations.discard(conversation)
            self.metrics.sessions -= 1
