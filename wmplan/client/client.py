"""The client of `wmplan serve`: a session that survives lost connections and servers that come and go."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.protocol import State
from websockets.sync.client import ClientConnection, connect

from .goals import DECLARED, as_message, declared
from .plan_request import PROTOCOL, Goal, PlanReply, PlanRequest
from .quotes import one_line, short
from .wire import WireError, pack, unpack

log = logging.getLogger(__name__)

FIRST_DELAY, LAST_DELAY = 0.05, 2.0  # seconds between attempts to connect, doubled from one to the next
MAX_REPLY = 2**22  # bytes
MAX_SEED = 2**63 - 1  # the largest that torch's generators take
CUT_OFF = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)  # no fault of a certificate
SAME = ("protocol", "cameras", "image_size", "proprio_dim", "action_dim", "action_low", "action_high", "control_rate")


class PolicyError(RuntimeError):
    """The server answered that it cannot do what it was asked, or not what was to be expected."""


class PolicyUnavailable(PolicyError):
    """There was no answer in time, or no room for another session. The next call connects anew."""


class PolicyRefused(PolicyError):
    """The server does not let this client in."""


class PolicyClient:
    """A planner behind a connection: the Backend of a RealtimeController, or to be called directly.

    A call that gets no answer within `timeout` raises PolicyUnavailable and ends the session, so that a late answer
    can never be taken for that of a later call. The next call connects anew, with growing pauses between attempts,
    and sends seed and goal again; what the server had seen is forgotten. Calls may come from several threads.

    Args:
        url: where the server is: ws://HOST:PORT, wss://HOST:PORT, or HOST:PORT for ws://.
        token: what the server wants to be shown.
        timeout: seconds that a call may take, connecting anew included.
        connect_timeout: seconds that the first connection may take, for a server that is just starting.
        ca_file: certificates, in PEM form, that a wss:// server's is checked against; None for the system's.

    Attributes:
        metadata: what the server told of itself: action_horizon, action_low, action_high, control_rate, image_size,
            cameras, ...
        connections: how often it connected.

    Raises:
        PolicyUnavailable: if there is no server, or it is full, or too slow.
        PolicyRefused: if the token is wrong.
        ValueError: if the url is none.
    """

    def __init__(
        self,
        url: str = "ws://127.0.0.1:8000",
        token: str | None = None,
        *,
        timeout: float = 2.0,
        connect_timeout: float = 5.0,
        ca_file: str | Path | None = None,
    ) -> None:
        self.url = url if "://" in url else f"ws://{url}"
        if not _is_address(self.url):
            raise ValueError(f"url must be ws://HOST:PORT or wss://HOST:PORT, got {_without_login(url)!r}")
        self._shown = _without_login(self.url)
        for name, seconds in (("timeout", timeout), ("connect_timeout", connect_timeout)):
            if not 0 < seconds < threading.TIMEOUT_MAX:
                raise ValueError(f"{name} must be above 0 and finite, got {seconds}")
        self.timeout, self.metadata, self.connections = timeout, {}, 0  # type: float, dict[str, Any], int
        self._token, self._tls = token, None
        if self.url.startswith("wss://"):
            self._tls = ssl.create_default_context(cafile=ca_file)
        self._calls = threading.RLock()
        self._closed = threading.Event()
        self._connection: ClientConnection | None = None
        self._delay, self._not_before = 0.0, 0.0
        self._goal: Goal | None = None
        self._seed: int | None = None
        with self._calls:
            self._connect(time.monotonic() + connect_timeout)

    def __enter__(self) -> PolicyClient:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # ------------------------------------------------------------------ calls

    def set_goal(self, goal: Goal) -> None:
        """Head for another goal: a frame (H, W, 3), a dict of frames and maybe proprio, or a declared goal.

        The goal is kept if there is no answer, and sent as soon as there is a connection again.

        Raises:
            PolicyError: if the server does not take it; the goal before stays.
            PolicyUnavailable: if there is no answer in time.
        """
        with self._calls:
            before = self._goal
            self._goal = _own(declared(goal))
            try:
                if not self._connect(time.monotonic() + self.timeout):  # a new connection was told already
                    self._exchange(self._goal_message(self._goal))
            except PolicyUnavailable:
                raise
            except PolicyError:  # it is no goal for this model
                self._goal = before
                raise

    def reset(self, seed: int = 0) -> None:
        """Forget what was seen and done; random numbers begin with `seed`. It is kept as the goal is.

        Raises:
            ValueError: if the seed is no whole number from 0 to 2^63 - 1.
            PolicyUnavailable: if there is no answer in time.
        """
        seed = _whole_seed(seed)
        with self._calls:
            self._seed = seed
            if not self._connect(time.monotonic() + self.timeout):
                self._exchange(_reset_message(seed))

    def plan(self, request: PlanRequest) -> PlanReply:
        """The reply to one request.

        Raises:
            PolicyError: if the server says that the request is wrong, or its reply is.
            PolicyUnavailable: if there is no reply in time.
        """
        message: dict[str, Any] = {"epoch": request.epoch}
        for name in (*self.metadata["cameras"], "proprio"):
            if request.observation.get(name) is not None:
                message[name] = np.asarray(request.observation[name])
        for name in ("executed", "committed", "deadline_ms"):
            if getattr(request, name) is not None:
                message[name] = getattr(request, name)
        with self._calls:
            reply = self.infer(message)
            try:
                return self._plan_reply(reply, request.epoch)
            except (KeyError, TypeError, ValueError) as error:
                self._drop()
                raise PolicyError(f"{self._shown} sent what is no plan: {one_line(repr(error))}") from error

    def infer(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """Send one message as it is, as openpi's client does, and return the reply."""
        with self._calls:
            self._connect(time.monotonic() + self.timeout)
            return self._exchange(observation)

    def statistics(self) -> dict[str, Any]:
        """What this session was served with: plans, and percentiles of planning times in ms."""
        return dict(self.infer({"wmplan": "statistics"})["statistics"])

    def close(self) -> None:
        """End the session; a call that waits in another thread ends with PolicyUnavailable. No call may follow."""
        self._closed.set()
        connection = self._connection
        if connection is not None:
            _abort(connection)
        with self._calls:
            self._drop()

    # ------------------------------------------------------------------ the connection

    def _connect(self, deadline: float) -> bool:
        """See to it that there is a connection; whether it is a new one."""
        if self._connection is not None:
            if self._connection.protocol.state is State.OPEN:
                return False
            self._drop()
        reason = "its connection was lost"
        while not self._closed.is_set():
            left = deadline - time.monotonic()
            pause = self._not_before - time.monotonic()
            if left <= max(pause, 0.0):
                self._closed.wait(max(left, 0.0))
                raise PolicyUnavailable(f"{self._shown} does not answer: {reason}")
            if pause > 0:
                self._closed.wait(pause)
                continue
            try:
                self._open(left)
                self._delay = self._not_before = 0.0
                return True
            except InvalidStatus as error:
                self._drop()
                status = error.response.status_code
                text = one_line((error.response.body or b"").decode(errors="replace")) or f"HTTP status {status}"
                if status in (401, 403):
                    raise PolicyRefused(f"{self._shown} refuses: {text}") from error
                reason = text
            except ssl.SSLError as error:
                self._drop()
                if not isinstance(error, CUT_OFF):
                    raise PolicyRefused(f"{self._shown}: {error.reason or error}") from error
                reason = "it ended the connection"
            except (OSError, EOFError, InvalidHandshake, ConnectionClosed, PolicyUnavailable) as error:
                self._drop()
                reason = one_line(error) or type(error).__name__
            self._delay = min(max(2 * self._delay, FIRST_DELAY), LAST_DELAY)
            self._not_before = time.monotonic() + self._delay
        raise PolicyUnavailable("the client was closed")

    def _open(self, seconds: float) -> None:
        headers = {"Authorization": f"Api-Key {self._token}"} if self._token else None
        connection = connect(
            self.url,
            ssl=self._tls,
            compression=None,
            additional_headers=headers,
            proxy=None,
            open_timeout=seconds,
            close_timeout=1.0,
            max_size=MAX_REPLY,
        ).__enter__()
        self._connection = connection
        metadata = self._receive(connection, seconds)
        if not str(metadata.get("protocol", "")).startswith(PROTOCOL):
            self._drop()
            raise PolicyError(f"{self._shown} does not speak {PROTOCOL} but {short(metadata.get('protocol'))}")
        if missing := [name for name in SAME if name not in metadata]:
            self._drop()
            raise PolicyError(f"{self._shown} does not tell its {missing[0]}")
        changed = [name for name in SAME if self.metadata and metadata.get(name) != self.metadata.get(name)]
        if changed:
            self._drop()
            raise PolicyError(f"{self._shown} now serves another model: {', '.join(changed)} changed")
        self.metadata, self.connections = metadata, self.connections + 1
        if self.connections > 1:
            log.warning("connected to %s again", self._shown)
        try:
            if self._seed is not None:
                self._exchange(_reset_message(self._seed))
            if self._goal is not None:
                self._exchange(self._goal_message(self._goal))
        except PolicyError:
            self._drop()
            raise

    def _exchange(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """One message and its reply, over the connection there is."""
        connection = self._connection
        assert connection is not None
        data = pack(dict(message))
        try:
            with _at_most(self.timeout, connection):
                connection.send(data)
        except (ConnectionClosed, OSError) as error:
            self._drop()
            raise PolicyUnavailable(f"{self._shown} does not take messages: {one_line(error)}") from error
        return self._receive(connection, self.timeout)

    def _receive(self, connection: ClientConnection, timeout: float) -> dict[str, Any]:
        try:
            data = connection.recv(timeout)
        except TimeoutError as error:
            self._drop()
            raise PolicyUnavailable(f"{self._shown} did not answer within {timeout:.3g} s") from error
        except (ConnectionClosed, OSError) as error:
            self._drop()
            raise PolicyUnavailable(f"{self._shown} ended the session: {one_line(error)}") from error
        if isinstance(data, str):
            raise PolicyError(f"{self._shown} says: {one_line(data)}")
        try:
            reply = unpack(data)
        except WireError as error:
            self._drop()
            raise PolicyError(f"{self._shown} sent what cannot be read: {one_line(error)}") from error
        if not isinstance(reply, dict):
            self._drop()
            raise PolicyError(f"{self._shown} sent a {type(reply).__name__}, a reply is a map")
        return reply

    def _goal_message(self, goal: Goal) -> dict[str, Any]:
        return {"wmplan": "set_goal", "goal": as_message(goal, self.metadata["cameras"][0])}

    def _plan_reply(self, reply: Mapping[str, Any], epoch: int) -> PlanReply:
        actions = np.array(reply["actions"], np.float32)
        if actions.ndim != 2 or not len(actions) or actions.shape[1] != self.metadata["action_dim"]:
            raise ValueError(f"actions of shape {actions.shape}")
        if not np.isfinite(actions).all():
            raise ValueError("actions that are not finite")
        if reply["epoch"] != epoch:
            raise ValueError(f"epoch {short(reply['epoch'])} to a request of epoch {epoch}")
        surprise = reply["surprise"]
        return PlanReply(
            actions=actions,
            epoch=epoch,
            cost=float(reply["cost"]),
            plan_ms=float(reply["plan_ms"]),
            surprise=None if surprise is None else float(surprise),
            feasible=bool(reply["feasible"]),
        )

    def _drop(self) -> None:
        """End the session without waiting for the server."""
        connection, self._connection = self._connection, None
        if connection is not None:
            _abort(connection)


def _is_address(url: str) -> bool:
    parts = urlsplit(url)
    try:
        return parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is no number
        return False


def _without_login(url: str) -> str:
    """The address as errors and the log may tell it: without the name and password that a proxy may want."""
    return re.sub(r"^(\w+://)?[^/]*@", r"\1", url)


def _whole_seed(value: Any) -> int:
    """A seed as an int, be it Python's, numpy's or torch's; 3.0 is whole too."""
    seed = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(seed, float) and seed.is_integer():
        seed = int(seed)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must be a whole number from 0 to 2^63 - 1, got {short(seed)}")
    return seed


def _own(goal: Any) -> Any:
    """The same in memory of its own; declared goals are already."""
    if isinstance(goal, DECLARED):
        return goal
    return {k: np.array(v) for k, v in goal.items()} if isinstance(goal, Mapping) else np.array(goal)


def _reset_message(seed: int) -> dict[str, Any]:
    return {"wmplan": "reset", "seed": seed}


def _abort(connection: ClientConnection) -> None:
    """Cut the line: whoever waits for the connection is told, and its thread ends."""
    with contextlib.suppress(OSError):
        connection.socket.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def _at_most(seconds: float, connection: ClientConnection) -> Iterator[None]:
    """Cut the line if the block takes longer: a send waits without end for a peer that does not read."""
    timer = threading.Timer(seconds, _abort, [connection])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
