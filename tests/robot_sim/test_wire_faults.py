"""The relay is what a failing network would be: between an echo server and plain sockets."""

import contextlib
import socket
import socketserver
import threading
import time

import pytest

from wmplan.errors import UserError
from wmplan.robot_sim.faults import Fault, FaultSchedule
from wmplan.robot_sim.wire_faults import FaultyWire


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        with contextlib.suppress(OSError):
            while data := self.request.recv(65536):
                self.request.sendall(data)


@pytest.fixture
def wire():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        wire = FaultyWire(f"ws://127.0.0.1:{server.server_address[1]}")
        yield wire
        wire.close()
        server.shutdown()


class Time:
    """The episode's time, which the test sets."""

    now = 0.0

    def __call__(self):
        return self.now


def connect(wire, timeout=5.0):
    return socket.create_connection(("127.0.0.1", wire.port), timeout)


def echo(connection, data=b"hello"):
    connection.sendall(data)
    got = b""
    while len(got) < len(data):
        part = connection.recv(65536)
        if not part:
            raise ConnectionError("ended")
        got += part
    return got


def test_bytes_pass_unchanged(wire):
    data = bytes(range(256)) * 4000
    connection = connect(wire)
    sender = threading.Thread(target=connection.sendall, args=(data,))
    sender.start()
    got = b""
    while len(got) < len(data):
        got += connection.recv(65536)
    sender.join()
    assert got == data


def test_what_crosses_a_slow_network_comes_both_ways_late(wire):
    connection = connect(wire)
    echo(connection)
    wire.begin(FaultSchedule([Fault("network_slow", 0.0, None, 0.15)]), Time())
    began = time.monotonic()
    echo(connection)
    assert time.monotonic() - began >= 0.3
    wire.rest()
    assert echo(connection, b"again") == b"again"


def test_a_slow_planner_delays_replies_only(wire):
    connection = connect(wire)
    wire.begin(FaultSchedule([Fault("planner_slow", 0.0, None, 0.2)]), Time())
    began = time.monotonic()
    echo(connection)
    assert time.monotonic() - began >= 0.2


def test_a_lost_network_passes_nothing_until_it_is_back(wire):
    moment, connection = Time(), connect(wire, 0.3)
    echo(connection)
    wire.begin(FaultSchedule([Fault("network_lost", 0.0, 1.0)]), moment)
    connection.sendall(b"hello")
    with pytest.raises(TimeoutError):
        connection.recv(10)
    connection.settimeout(5)
    moment.now = 1.0
    assert connection.recv(10) == b"hello"


def test_a_killed_server_cuts_its_connections_and_is_not_there_until_it_is(wire):
    moment, connection = Time(), connect(wire)
    echo(connection)
    wire.begin(FaultSchedule([Fault("server_killed", 0.0, 1.0)]), moment)
    with pytest.raises((ConnectionError, OSError)):
        for _ in range(100):
            echo(connection)
            time.sleep(0.02)
    with pytest.raises(ConnectionRefusedError):
        connect(wire)
    moment.now = 1.0
    deadline = time.monotonic() + 5
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            assert echo(connect(wire)) == b"hello"
            break
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_rest_brings_a_killed_server_back_at_once(wire):
    wire.begin(FaultSchedule([Fault("server_killed")]), Time())
    time.sleep(0.05)
    wire.rest()
    assert echo(connect(wire)) == b"hello"


def test_where_there_is_no_server_connections_end(wire):
    nowhere = FaultyWire("ws://127.0.0.1:1")
    with contextlib.suppress(ConnectionError):
        assert connect(nowhere).recv(1) == b""
    nowhere.close()


@pytest.mark.parametrize("url", ["wss://127.0.0.1:8000", "http://x", "ws://"])
def test_a_url_that_cannot_be_relayed_is_named(url):
    with pytest.raises(UserError, match="it has to be|need a url ws://HOST:PORT"):
        FaultyWire(url)
