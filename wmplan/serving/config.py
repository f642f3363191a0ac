"""Where the server listens, whom it lets in, and how much of it one client may take."""

from __future__ import annotations

import ipaddress
import math
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from wmplan.errors import UserError
from wmplan.settings.build import convert_fields
from wmplan.settings.numbers import whole_number

MIN_TOKEN = 16  # characters


@dataclass(frozen=True)
class Bounds:
    """How much of the server one client, and all of them together, may take.

    Attributes:
        max_sessions: robots at once; more are refused, unless one of them has not said a word yet.
        max_sessions_per_address: how many of them from one address; None for as many as there may be. An address is
            an IPv4 address or a /64 network of IPv6.
        max_message_bytes: a larger message closes the session that sent it.
        max_rate: messages a second that a session may send; what comes faster is left waiting.
        idle_seconds: a session that sends no whole message for so long is closed.
        slow_seconds: a client that does not take its reply, or does not answer a ping, for so long is dropped.
        gather_ms: how long planning waits for requests of sessions that were in the last batch too.
        max_batch: sessions planned in one batch.
        drain_seconds: how long replies under way may take when the server is told to end.
    """

    max_sessions: int = 16
    max_sessions_per_address: int | None = None
    max_message_bytes: int = 4 * 2**20
    max_rate: float = 100.0
    idle_seconds: float = 300.0
    slow_seconds: float = 20.0
    gather_ms: float = 2.0
    max_batch: int = 16
    drain_seconds: float = 5.0

    def __post_init__(self) -> None:
        convert_fields(self, "bounds")
        for name in ("max_sessions", "max_sessions_per_address", "max_message_bytes", "max_batch"):
            if getattr(self, name) is not None:
                whole_number(getattr(self, name), f"bounds.{name}", 1)
        for name in ("max_rate", "idle_seconds", "slow_seconds"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"bounds.{name} must be above 0 and finite, got {getattr(self, name)}")
        for name in ("gather_ms", "drain_seconds"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"bounds.{name} must be at least 0 and finite, got {getattr(self, name)}")


@dataclass(frozen=True)
class ServerConfig:
    """What a PolicyServer is told.

    Attributes:
        host: address to listen at. Any but this machine's own (127.0.0.1, ::1, localhost) needs a token.
        port: TCP port; 0 lets the system choose a free one.
        token: what clients have to show, at least 16 characters; None lets everyone on this machine in.
        certificate, key: files in PEM form, for wss:// in place of ws://; the key may be in the certificate's file.
        bounds: how much clients may take.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    certificate: Path | None = None
    key: Path | None = None
    bounds: Bounds = field(default_factory=Bounds)

    def __post_init__(self) -> None:
        convert_fields(self)
        if not 0 <= self.port <= 65535:
            raise UserError(f"port must be from 0 to 65535, got {self.port}")
        if self.token is not None and (len(self.token) < MIN_TOKEN or not re.fullmatch("[!-~]+", self.token)):
            raise UserError(f"the token must be at least {MIN_TOKEN} ASCII characters without a space")
        if self.token is None and not is_loopback(self.host):
            raise UserError(
                f"host is {self.host}, which other machines reach, and there is no token: set WMPLAN_TOKEN or "
                "token_file to what clients have to show, or take host=127.0.0.1"
            )
        if self.key is not None and self.certificate is None:
            raise UserError("key was given without certificate: TLS needs both")

    @property
    def scheme(self) -> str:
        """What the server's address begins with."""
        return "wss" if self.certificate else "ws"

    def tls(self) -> ssl.SSLContext | None:
        """The TLS settings, None where there is no certificate.

        Raises:
            UserError: naming the file that cannot be used.
        """
        if self.certificate is None:
            return None
        for name in ("certificate", "key"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise UserError(f"{name}: there is no file {path}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.certificate, self.key)
        except ssl.SSLError as error:
            raise UserError(f"certificate {self.certificate}: {error.reason or error}") from error
        return context


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
