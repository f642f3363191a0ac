"""A network that fails on request: a TCP relay between the client and the server, of which neither knows."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from urllib.parse import urlsplit

from wmplan.errors import UserError
from wmplan.robot_sim.faults import FaultSchedule

T = TypeVar("T")

NETWORK_KINDS = ("network_lost", "network_slow", "server_killed", "planner_slow")
"""Faults that come about in the network, as seen from the robot."""
POLL = 0.005  # seconds between looks at what is wrong now
CHUNK = 65536


class FaultyWire:
    """Relays connections to a server, late or not at all while a fault lasts.

    While the network is lost, bytes wait; while the server is killed, connections are cut and nobody listens; while
    the planner is slow, what the server says waits. Outside of an episode nothing goes wrong.

    Args:
        url: ws://HOST:PORT of the server.

    Attributes:
        url: where clients have to connect instead.

    Raises:
        UserError: if the url is not ws://HOST:PORT; the certificate of a wss:// server would not fit the relay.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url if "://" in url else f"ws://{url}")
        if parts.scheme != "ws" or not parts.hostname:
            raise UserError(f"url is {url!r}; faults of network, server and planner need a url ws://HOST:PORT")
        self.host, self.server_port = parts.hostname, parts.port or 80
        self._faults, self._moment = FaultSchedule(), _never
        self._server: asyncio.Server | None = None
        self._relays: set[asyncio.Task[None]] = set()
        self._following = asyncio.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="faulty wire", daemon=True)
        self._thread.start()
        self.port = self._call(self._listen(0))
        self.url = f"ws://127.0.0.1:{self.port}{parts.path}"
        self._watcher = asyncio.run_coroutine_threadsafe(self._watch(), self._loop)

    def begin(self, faults: FaultSchedule, moment: Callable[[], float]) -> None:
        """Let these faults happen; `moment` gives the seconds since the start of the episode."""
        self._faults, self._moment = faults, moment

    def rest(self) -> None:
        """Let nothing go wrong until the next begin()."""
        self._faults, self._moment = FaultSchedule(), _never
        self._call(self._follow())

    def close(self) -> None:
        """Cut every connection and end."""
        self._watcher.cancel()
        self._call(self._cut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _size(self, kind: str) -> float | None:
        return self._faults.size(kind, self._moment())

    # ------------------------------------------------------------------ in the thread

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _listen(self, port: int) -> int:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", port)
        return int(self._server.sockets[0].getsockname()[1])

    async def _watch(self) -> None:
        while True:
            await self._follow()
            await asyncio.sleep(POLL)

    async def _follow(self) -> None:
        """Be there or not, as the faults say."""
        async with self._following:
            killed = self._size("server_killed") is not None
            if killed and self._server is not None:
                await self._cut()
            elif not killed and self._server is None:
                await self._listen(self.port)

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        relays = list(self._relays)
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        there: asyncio.StreamWriter | None = None
        try:
            from_server, there = await asyncio.open_connection(self.host, self.server_port)
            up = asyncio.create_task(self._pump(reader, there, ("network_slow",)))
            down = asyncio.create_task(self._pump(from_server, writer, ("network_slow", "planner_slow")))
            try:
                await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            finally:
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # there is no server, or it was killed: the client finds its connection cut
        finally:
            self._relays.discard(task)
            for one in (writer, there):
                if one is not None:
                    one.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, slow: tuple[str, ...]) -> None:
        """Pass bytes on, each so late as was said when it came, and in order."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due, data = await waiting.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                while self._size("network_lost") is not None:
                    await asyncio.sleep(POLL)
                if not data:
                    return
                writer.write(data)
                await writer.drain()

        delivering = asyncio.create_task(deliver())
        try:
            while data := await reader.read(CHUNK):
                waiting.put_nowait((self._loop.time() + sum(self._size(kind) or 0.0 for kind in slow), data))
            waiting.put_nowait((self._loop.time(), b""))
            await delivering
        finally:
            delivering.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await delivering


def _never() -> float:
    """Before any episode."""
    return -1.0
