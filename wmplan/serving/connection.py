"""A websocket connection that the server knows of from the moment it is accepted, before any TLS."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Protocol, cast

from websockets.asyncio.server import ServerConnection


class Listener(Protocol):
    """Who is told of connections."""

    tls: ssl.SSLContext | None
    handshake_seconds: float

    def accepted(self, connection: Connection) -> None:
        """A connection was accepted. It may be dropped at once."""

    def lost(self, connection: Connection) -> None:
        """A connection has ended."""


class Connection(ServerConnection):
    """A connection with the TLS handshake made by itself: asyncio's server tells of none until that is over."""

    def __init__(self, listener: Listener, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.listener = listener
        self._plain: asyncio.Transport | None = None
        self._securing: asyncio.Task[None] | None = None
        self._is_made = False
        self._early = b""  # what came with the end of the TLS handshake

    @property
    def peer(self) -> Any:
        """The address at the other end."""
        return None if self._plain is None else self._plain.get_extra_info("peername")

    def drop(self) -> None:
        """Cut the line."""
        if self._plain is not None:
            self._plain.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._plain = cast(asyncio.Transport, transport)
        if self.listener.tls is None:
            self._make(transport)
        else:
            self._plain.pause_reading()  # what comes is TLS's
            self._securing = self.loop.create_task(self._secure(self._plain, self.listener.tls))
        self.listener.accepted(self)

    async def _secure(self, plain: asyncio.Transport, tls: ssl.SSLContext) -> None:
        try:
            transport = await self.loop.start_tls(
                plain,
                self,
                tls,
                server_side=True,
                ssl_handshake_timeout=self.listener.handshake_seconds,
                ssl_shutdown_timeout=self.listener.handshake_seconds,
            )
        except OSError:  # no TLS, none of ours, or none in time
            transport = None
        if transport is None or plain.is_closing():
            plain.abort()
            self.listener.lost(self)
            return
        self._make(transport)
        if self._early:
            super().data_received(self._early)

    def _make(self, transport: asyncio.BaseTransport) -> None:
        self._is_made = True
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._is_made:
            super().data_received(data)
        else:
            self._early += data

    def eof_received(self) -> None:
        if self._is_made:
            super().eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self.listener.lost(self)
        if self._is_made:
            super().connection_lost(error)
