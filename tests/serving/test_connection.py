"""Connections over TLS: counted and timed from the first byte on."""

from __future__ import annotations

import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from serving import METADATA, KnownPlanner, frame, known_server, observation, reply_of, running, until
from websockets.sync.client import connect

from wmplan.control.backend import PlanRequest
from wmplan.serving import PolicyServer
from wmplan.serving.client import PolicyClient, PolicyRefused
from wmplan.serving.wire import pack

LONG = 60.0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of localhost with its key, in one file."""
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    command = ["openssl", *options.split(), "-addext", "subjectAltName=DNS:localhost", "-keyout", "-", "-out", "-"]
    try:
        file.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    except FileNotFoundError:
        pytest.skip("there is no openssl to make a certificate with")
    return file


@pytest.fixture
def server(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[PolicyServer]:
    monkeypatch.setattr("wmplan.serving.server.HANDSHAKE_SECONDS", getattr(request, "param", LONG))
    made = known_server(KnownPlanner(), goal=frame(1), max_sessions=2)
    made.config = replace(made.config, certificate=certificate)
    with running(made):
        yield made


def healthy(server: PolicyServer, certificate: Path) -> bool:
    context = ssl.create_default_context(cafile=str(certificate))
    with urllib.request.urlopen(f"https://localhost:{server.port}/healthz", timeout=LONG, context=context) as response:
        return bool(response.status == 200)


def test_a_robot_is_served_over_tls(server: PolicyServer, certificate: Path) -> None:
    url = f"wss://localhost:{server.port}"
    context = ssl.create_default_context(cafile=str(certificate))
    with connect(url, ssl=context, proxy=None, compression=None) as robot:
        assert reply_of(robot.recv(LONG)) == METADATA
        robot.send(pack(observation(5)))
        assert reply_of(robot.recv(LONG))["cost"] == 1.0
    with pytest.raises(ssl.SSLError):
        connect(url, proxy=None).__enter__()  # the certificate is nobody's that the system trusts
    until(lambda: not server.connections)


def test_the_client_tells_a_certificate_that_is_not_to_be_trusted_from_a_connection_that_was_cut(
    server: PolicyServer, certificate: Path
) -> None:
    with PolicyClient(f"wss://localhost:{server.port}", timeout=LONG, ca_file=certificate) as client:
        assert client.plan(PlanRequest(observation(1))).cost == 1.0
    with pytest.raises(PolicyRefused, match="(?i)certificate"):
        PolicyClient(f"wss://localhost:{server.port}", connect_timeout=LONG)


@pytest.mark.parametrize("text", [b"", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n"])
def test_half_open_tls_handshakes_shut_out_neither_health_nor_robots(
    server: PolicyServer, certificate: Path, text: bytes
) -> None:
    held = []
    for _ in range(60):
        held.append(socket.create_connection(("127.0.0.1", server.port), timeout=LONG))
        held[-1].sendall(text)
    if not text.startswith(b"GET"):  # that is no TLS, and ends at once
        until(lambda: len(server.handshakes) == 2 + 16 and server.metrics.refused["connections"] >= 42)
    assert all(healthy(server, certificate) for _ in range(5))
    with PolicyClient(f"wss://localhost:{server.port}", timeout=LONG, ca_file=certificate) as client:
        assert client.plan(PlanRequest(observation(1))).cost == 1.0
        assert client.connections == 1
    for line in held:
        line.close()
    until(lambda: not server.connections and not server.handshakes)


@pytest.mark.parametrize("server", [0.3], indirect=True)
def test_tls_handshakes_have_to_end_in_time(server: PolicyServer) -> None:
    line = socket.create_connection(("127.0.0.1", server.port), timeout=LONG)
    line.sendall(b"\x16\x03\x01\x02\x00\x01")
    until(lambda: len(server.connections) == 1)
    assert line.recv(100) == b""
    until(lambda: not server.connections and not server.handshakes)
    line.close()


def test_a_request_that_comes_with_the_end_of_the_handshake_is_not_lost(
    server: PolicyServer, certificate: Path
) -> None:
    """In one packet; asyncio hands it on before it tells that the handshake is over."""
    context = ssl.create_default_context(cafile=str(certificate))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", server.port), timeout=LONG) as line:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                line.sendall(outgoing.read())
                incoming.write(line.recv(65536))
        tls.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        line.sendall(outgoing.read())
        answer = b""
        while not answer.endswith(b"OK\n"):
            try:
                answer += tls.read()
            except ssl.SSLWantReadError:
                incoming.write(line.recv(65536))
        assert answer.startswith(b"HTTP/1.1 200")


def test_the_end_does_not_wait_for_handshakes(certificate: Path) -> None:
    made = known_server(KnownPlanner(), drain_seconds=0.2)
    made.config = replace(made.config, certificate=certificate)
    with running(made) as server:
        lines = [socket.create_connection(("127.0.0.1", server.port), timeout=LONG) for _ in range(3)]
        until(lambda: len(server.connections) == 3)
        server.submit(server.stop()).result(LONG)  # type: ignore[attr-defined]
        assert all(line.recv(100) == b"" for line in lines)
        assert not server.connections
        for line in lines:
            line.close()
