"""Who is let in, and what plain HTTP requests are answered."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

SCHEMES = ("Api-Key ", "Bearer ")  # openpi's clients, and what scrapes metrics


def shows_token(request: Request, token: str | None) -> bool:
    """Whether a request carries the token, compared in constant time; without a token everyone does."""
    if token is None:
        return True
    given = request.headers.get_all("Authorization")
    if len(given) != 1:
        return False
    shown = next((given[0][len(scheme) :] for scheme in SCHEMES if given[0].startswith(scheme)), "")
    return hmac.compare_digest(shown.encode("utf-8", "surrogateescape"), token.encode())


class Door:
    """Answers the first request of every connection: plain HTTP at once, a websocket's by letting it in or not.

    Args:
        token: what has to be shown, None for nothing.
        full: whether there is no room for another session of that connection's address.
        unwell: why the server cannot plan, None where it can.
        metrics: the text for /metrics.
        refused: called with the reason whenever someone is refused.
    """

    def __init__(
        self,
        token: str | None,
        full: Callable[[ServerConnection], bool],
        unwell: Callable[[], str | None],
        metrics: Callable[[], str],
        refused: Callable[[str], None],
    ) -> None:
        self.token, self.full, self.unwell, self.metrics, self.refused = token, full, unwell, metrics, refused

    def __call__(self, connection: ServerConnection, request: Request) -> Response | None:
        """The HTTP response, or None to go on with the websocket's handshake."""
        path = request.path.partition("?")[0]
        if path == "/healthz":  # tells nothing, so it needs no token
            reason = self.unwell()
            if reason is not None:
                return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, f"{reason}\n")
            return connection.respond(HTTPStatus.OK, "OK\n")
        if not shows_token(request, self.token):
            return self._refuse(connection, "token", HTTPStatus.UNAUTHORIZED, "a token is needed")
        if path == "/metrics":
            return connection.respond(HTTPStatus.OK, self.metrics())
        if "Origin" in request.headers:  # a web page the user looks at must not drive the robot
            return self._refuse(connection, "origin", HTTPStatus.FORBIDDEN, "web pages are not served")
        if self.full(connection):
            return self._refuse(connection, "full", HTTPStatus.SERVICE_UNAVAILABLE, "no room for another session")
        return None

    def _refuse(self, connection: ServerConnection, reason: str, status: HTTPStatus, text: str) -> Response:
        self.refused(reason)
        return connection.respond(status, f"{text}\n")
