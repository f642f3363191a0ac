"""The client against servers that are not there, say nothing, or are not to be trusted."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.sync.server import ServerConnection, serve

from wmplan_client import PlanRequest, PolicyClient, PolicyError, PolicyRefused, PolicyUnavailable, pack

LONG = 60.0
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
}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def request(value: int) -> PlanRequest:
    return PlanRequest({"pixels": np.full((8, 8, 3), value, np.uint8), "proprio": np.zeros(2, np.float32)})


def test_no_server_is_said_in_time() -> None:
    with pytest.raises(PolicyUnavailable, match=r"ws://127.0.0.1:\d+ does not answer: .*refused"):
        PolicyClient(f"127.0.0.1:{free_port()}", connect_timeout=0.3)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "ws://", "ws://127.0.0.1:port"])
def test_a_wrong_url_is_named(url: str) -> None:
    with pytest.raises(ValueError, match="url must be ws://HOST:PORT or wss://HOST:PORT, got '"):
        PolicyClient(url, connect_timeout=0.3)


def test_a_server_that_accepts_and_says_nothing_is_unavailable() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(PolicyUnavailable, match="does not answer: timed out"),
    ):
        PolicyClient(f"127.0.0.1:{silent.getsockname()[1]}", connect_timeout=0.3)


@pytest.mark.parametrize(
    "url", ["ws://robot:secret@127.0.0.1:1", "robot:secret@127.0.0.1:1", "robot:sec@ret@127.0.0.1:1", "x://r:secret@b"]
)
def test_errors_do_not_tell_the_password_in_a_url(url: str) -> None:
    with pytest.raises((PolicyUnavailable, ValueError)) as error:
        PolicyClient(url, connect_timeout=0.1)
    assert "sec" not in str(error.value) and url.rpartition("@")[2] in str(error.value)


# ------------------------------------------------------------------ a server that is not to be trusted


@pytest.fixture
def answering() -> Any:
    """Runs a server that sends the metadata and then what it is told."""
    servers = []

    def start(answer: Callable[[ServerConnection], None], metadata: Any = METADATA) -> str:
        def handle(connection: ServerConnection) -> None:
            connection.send(pack(metadata))
            for _ in connection:
                answer(connection)

        server = serve(handle, "127.0.0.1", 0, compression=None)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"ws://127.0.0.1:{server.socket.getsockname()[1]}"

    yield start
    for server in servers:
        server.shutdown()


GOOD = {
    "actions": np.zeros((5, 2), np.float32),
    "epoch": 0,
    "cost": 1.0,
    "plan_ms": 1.0,
    "surprise": 0.5,
    "feasible": 1,
}


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (b"\xc1", "cannot be read"),
        (pack([1, 2]), "a reply is a map"),
        (pack({**GOOD, "actions": np.zeros((0, 2))}), "no plan"),
        (pack({**GOOD, "actions": np.zeros((5, 3))}), "no plan"),
        (pack({**GOOD, "actions": np.zeros(2)}), "no plan"),
        (pack({**GOOD, "actions": "abc"}), "no plan"),
        (pack({**GOOD, "actions": np.full((5, 2), np.nan)}), "not finite"),
        (pack({**GOOD, "epoch": 4}), "epoch 4"),
        (pack({**GOOD, "cost": "low"}), "no plan"),
        (pack({key: value for key, value in GOOD.items() if key != "cost"}), "no plan"),
    ],
)
def test_replies_that_are_no_plan_never_reach_the_robot(reply: bytes, says: str, answering: Any) -> None:
    with (
        PolicyClient(answering(lambda connection: connection.send(reply)), timeout=LONG) as client,
        pytest.raises(PolicyError, match=says),
    ):
        client.plan(request(1))


@pytest.mark.parametrize(
    "reply",
    [
        "no\n\x1b[2Jway " + "x" * 10**6,
        pack({**GOOD, "cost": "x" * 60_000}),
        pack({**GOOD, "epoch": "y\n" * 30_000}),
        pack({**GOOD, "surprise": {"z" * 60_000: 1}}),
    ],
)
def test_what_a_server_says_is_quoted_in_one_short_line(reply: bytes | str, answering: Any) -> None:
    with (
        PolicyClient(answering(lambda connection: connection.send(reply)), timeout=LONG) as client,
        pytest.raises(PolicyError) as error,
    ):
        client.plan(request(1))
    assert len(str(error.value)) < 600 and str(error.value).isprintable()


def test_what_a_server_says_when_it_refuses_is_quoted_in_one_short_line() -> None:
    said = b"go\n\x1b[2Jaway " + b"x" * 10**5
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            line, _ = listener.accept()
            with line:
                line.recv(4096)
                line.sendall(b"HTTP/1.1 403 No\r\nContent-Length: %d\r\n\r\n" % len(said) + said)
                line.recv(4096)

        with ThreadPoolExecutor(1) as pool:
            pool.submit(refuse)
            with pytest.raises(PolicyRefused, match="refuses: go ") as error:
                PolicyClient(f"127.0.0.1:{listener.getsockname()[1]}", connect_timeout=LONG)
    assert len(str(error.value)) < 600 and str(error.value).isprintable()


def test_a_good_reply_of_another_server_is_taken(answering: Any) -> None:
    with PolicyClient(answering(lambda connection: connection.send(pack(GOOD))), timeout=LONG) as client:
        assert client.plan(request(1)).surprise == 0.5


@pytest.mark.parametrize("metadata", [{}, {"protocol": "other/1"}, {"protocol": "wmplan/1"}, [1]])
def test_a_server_of_another_kind_is_said_to_be_one(metadata: Any, answering: Any) -> None:
    with pytest.raises(PolicyError):
        PolicyClient(answering(lambda connection: None, metadata), timeout=LONG)


def test_a_peer_that_does_not_read_cannot_hold_a_call_for_ever(answering: Any) -> None:
    big = {**METADATA, "image_size": [2000, 2000]}
    hold = threading.Event()

    def sit(connection: ServerConnection) -> None:
        hold.wait(LONG)

    client = PolicyClient(answering(sit, big), timeout=0.5)
    pixels = np.zeros((2000, 2000, 3), np.uint8)
    for _ in range(3):
        with pytest.raises(PolicyUnavailable):
            client.plan(PlanRequest({"pixels": pixels}))
    hold.set()
    client.close()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_a_server_replies_is_a_plan_or_a_policy_error(data: st.DataObject) -> None:
    """Any bytes, and a good reply with any bytes in it changed: nothing else is raised, and no plan is unfit."""
    good = bytearray(pack(GOOD))
    changes = data.draw(st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255)), max_size=4))
    for at, byte in changes:
        good[at] = byte
    reply = data.draw(st.just(bytes(good)) | st.binary(max_size=200) | st.text(max_size=50))

    def handle(connection: ServerConnection) -> None:
        connection.send(pack(METADATA))
        for _ in connection:
            connection.send(reply)

    with serve(handle, "127.0.0.1", 0, compression=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with PolicyClient(f"127.0.0.1:{server.socket.getsockname()[1]}", timeout=LONG) as client:
            try:
                plan = client.plan(request(1))
            except PolicyError as error:
                assert len(str(error)) < 600 and str(error).isprintable()
            else:
                assert plan.actions.dtype == np.float32 and plan.actions.shape[1] == 2
                assert np.isfinite(plan.actions).all() and plan.epoch == 0
        server.shutdown()


@pytest.mark.parametrize("seed", [-1, 1.5, True, "1", None, 2**63, float("nan"), np.zeros(2)])
def test_a_seed_that_is_no_whole_number_is_named(seed: Any, answering: Any) -> None:
    with (
        PolicyClient(answering(lambda connection: connection.send(pack({}))), timeout=LONG) as client,
        pytest.raises(ValueError, match="seed must be a whole number from 0 to"),
    ):
        client.reset(seed)


@pytest.mark.parametrize("name", ["timeout", "connect_timeout"])
@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf")])
def test_a_timeout_that_is_none_is_named(name: str, seconds: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be"):
        PolicyClient("127.0.0.1:1", **{name: seconds})
