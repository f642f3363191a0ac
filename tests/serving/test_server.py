"""The server over real sockets, with a planner whose replies are known: what a client gets, and what none can."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
import tracemalloc
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from serving import METADATA, TOKEN, KnownPlanner, frame, known_server, observation, reply_of, running, until
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from wmplan.serving import PolicyServer
from wmplan.serving.wire import pack, unpack

LONG = 60.0  # seconds, for what has to happen at once on any machine


def open_session(server: PolicyServer, **options: Any) -> ClientConnection:
    """A connection that has read the metadata."""
    connection = connect(
        f"ws://127.0.0.1:{server.port}", compression=None, proxy=None, close_timeout=5, **options
    ).__enter__()
    assert reply_of(connection.recv(LONG)) == METADATA
    return connection


def ask(connection: ClientConnection, message: Any) -> Any:
    """The reply to a message; a text where the server says that it is wrong."""
    connection.send(pack(message))
    data = connection.recv(LONG)
    return data if isinstance(data, str) else unpack(data)


def set_goal(connection: ClientConnection, value: int) -> None:
    assert ask(connection, {"wmplan": "set_goal", "goal": {"pixels": frame(value)}}) == {"wmplan": "set_goal"}


def know_the_goal(planner: KnownPlanner, robots: list[ClientConnection]) -> None:
    """Give each session its first reply: its first message sets the goal, too, and so waits as two jobs in turn."""
    for robot in robots:
        robot.send(pack(observation(0)))
        reply_of(robot.recv(LONG))
    assert planner.batches == len(robots) * [1]
    planner.batches.clear()
    planner.begun.clear()


def get(server: PolicyServer, path: str, token: str | None = None, scheme: str = "Bearer") -> tuple[int, str]:
    """Status and text of a plain HTTP request."""
    headers = {} if token is None else {"Authorization": f"{scheme} {token}"}
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=LONG) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


# ------------------------------------------------------------------ what a client gets


def test_a_session_from_goal_to_statistics() -> None:
    with running(known_server(KnownPlanner())) as server:
        robot = open_session(server)
        set_goal(robot, 40)
        assert ask(robot, {"wmplan": "reset", "seed": 7}) == {"wmplan": "reset"}
        first = ask(robot, observation(3, epoch=2, committed=np.zeros((4, 2), np.float32)))
        np.testing.assert_allclose(first["actions"], np.full((11, 2), [0.4, 0.03]), rtol=1e-6)
        assert first["actions"].dtype == np.float32
        assert (first["epoch"], first["cost"], first["surprise"], first["feasible"]) == (2, 7001.0, None, True)
        assert set(first["server_timing"]) == {"infer_ms", "prev_total_ms"}
        second = ask(robot, observation(4, executed=np.zeros((1, 2)), deadline_ms=50.0, prompt="push the block"))
        assert second["cost"] == 7002.0
        timing = first["server_timing"], second["server_timing"]
        assert timing[1]["prev_total_ms"] >= timing[0]["infer_ms"] > 0
        statistics = ask(robot, {"wmplan": "statistics"})["statistics"]
        assert statistics["plans"] == 2 and statistics["plan_ms"] == pytest.approx({"p50": 1, "p95": 1, "p99": 1})
        assert statistics["infer_ms"]["p50"] <= statistics["infer_ms"]["p99"]
        robot.close()


def test_the_request_reaches_the_planner_as_it_was_sent() -> None:
    planner, requests = KnownPlanner(), []
    plan_batch = planner.plan_batch
    planner.plan_batch = lambda sessions, given: requests.extend(given) or plan_batch(sessions, given)  # type: ignore
    executed, committed = np.float32([[1, 2], [3, 4]]), np.float32([[5, 6]])
    with running(known_server(planner, goal=frame(1))) as server:
        robot = open_session(server)
        ask(robot, observation(3, executed=executed, committed=committed, deadline_ms=1e6, epoch=9))
        robot.close()
    (request,) = requests
    np.testing.assert_array_equal(request.executed, executed)
    np.testing.assert_array_equal(request.committed, committed)
    np.testing.assert_array_equal(request.observation["pixels"], frame(3))
    np.testing.assert_array_equal(request.observation["proprio"], np.zeros(2))
    assert request.epoch == 9 and 0.9e6 < request.deadline_ms <= 1e6


def test_a_goal_beside_the_observation_is_set_when_it_changes() -> None:
    planner = KnownPlanner()
    with running(known_server(planner)) as server:
        robot = open_session(server)
        assert "no goal yet" in ask(robot, observation(1))
        goals = [ask(robot, observation(1, goal=frame(value)))["actions"][0, 0] for value in (10, 10, 20, 20, 10)]
        np.testing.assert_allclose(goals, [0.1, 0.1, 0.2, 0.2, 0.1], rtol=1e-6)
        assert ask(robot, observation(1))["actions"][0, 0] == np.float32(0.1)
        assert planner.sessions[0].goals == 3
        robot.close()


def test_sessions_head_for_the_servers_goal_until_they_set_another() -> None:
    with running(known_server(KnownPlanner(), goal=frame(30))) as server:
        one, other = open_session(server), open_session(server)
        set_goal(one, 50)
        assert ask(one, observation(0))["actions"][0, 0] == np.float32(0.5)
        assert ask(other, observation(0))["actions"][0, 0] == np.float32(0.3)
        one.close()
        other.close()


def test_what_is_wrong_is_said_and_the_session_goes_on() -> None:
    with running(known_server(KnownPlanner(), goal=frame(1))) as server:
        robot = open_session(server)
        wrong = [
            ({"proprio": np.zeros(2)}, "pixels is missing"),
            ({**observation(1), "pixels": np.zeros((9, 8, 3), np.uint8)}, r"a uint8 array of shape (9, 8, 3)"),
            ({**observation(1), "pixels": np.zeros((8, 8, 3))}, "float64"),
            ({**observation(1), "pixels": [1, 2]}, "pixels must be a uint8 array of shape (8, 8, 3), got a list"),
            ({**observation(1), "proprio": np.float32([np.nan, 0])}, "proprio holds numbers that are not finite"),
            (
                {**observation(1), "proprio": np.zeros(3)},
                "proprio must be an array of numbers of shape (2,), got a float64 array of shape (3,)",
            ),
            ({**observation(1), "proprio": np.float64([1e300, 0])}, "not finite"),
            ({**observation(1), "camera": frame(1)}, "no key 'camera'"),
            (observation(1, executed=np.zeros((5, 3))), "executed"),
            (observation(1, executed=np.zeros((1001, 2))), "at most 1000"),
            (observation(1, committed=np.zeros((15, 2))), "at most 14"),
            (observation(1, committed=np.float32([[np.inf, 0]])), "committed holds"),
            (observation(1, deadline_ms=-1), "deadline_ms must be at least 0 and finite, got -1"),
            (observation(1, deadline_ms=float("nan")), "deadline_ms must be at least 0 and finite, got nan"),
            (observation(1, epoch=-1), "epoch"),
            (observation(1, epoch=True), "epoch"),
            (observation(1, goal=np.zeros((8, 8), np.uint8)), "goal must be a uint8 array of shape (8, 8, 3)"),
            ({"wmplan": "stop"}, "wmplan must be set_goal, reset or statistics, got 'stop'"),
        ]
        for message, says in wrong:
            answer = ask(robot, message)
            assert isinstance(answer, str) and says in answer and "\n" not in answer, (message, answer)
        assert ask(robot, observation(5))["cost"] == 1.0  # its first frame: no wrong one reached the planner
        for message, says in [
            ({"wmplan": "set_goal"}, "goal: pixels is missing"),
            ({"wmplan": "set_goal", "goal": {"pixels": frame(1), "other": 1}}, "goal: there is no key 'other'"),
            ({"wmplan": "reset", "seed": 1.5}, "seed"),
            ({"wmplan": "reset", "sede": 1}, "no key 'sede'"),
            ([1], "a map"),
            ({b"pixels": 1}, "a map"),
        ]:
            assert says in ask(robot, message)
        robot.close()


def test_a_client_that_is_wrong_again_and_again_is_sent_away() -> None:
    with running(known_server(KnownPlanner(), goal=frame(1))) as server:
        robot, bystander = open_session(server), open_session(server)
        with pytest.raises(ConnectionClosedError) as closed:
            for _ in range(21):
                ask(robot, {"wmplan": "stop"})
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
        assert ask(bystander, observation(5))["cost"] == 1.0
        bystander.close()


def test_what_planning_refuses_hurts_the_one_who_asked_alone() -> None:
    planner = KnownPlanner()
    planner.poison = 66
    with running(known_server(planner, goal=frame(1))) as server:
        robots = [open_session(server) for _ in range(3)]
        know_the_goal(planner, robots)
        planner.gate.clear()
        robots[0].send(pack(observation(1)))
        until(planner.begun.is_set)
        for robot, value in zip(robots[1:], (66, 2), strict=True):
            robot.send(pack(observation(value)))
        until(lambda: [job.call for job in server.planning._jobs] == 2 * [None])
        planner.gate.set()
        answers = [robot.recv(LONG) for robot in robots]
        assert reply_of(answers[0])["cost"] == 2.0 and reply_of(answers[2])["cost"] == 2.0
        assert answers[1] == "a frame that cannot be planned from"
        assert planner.batches == [1, 2, 1, 1]
        for robot in robots:
            robot.close()


def test_a_failure_of_the_servers_own_ends_the_session_without_telling_how(caplog: pytest.LogCaptureFixture) -> None:
    planner = KnownPlanner()

    def fail(sessions: Any, requests: Any) -> Any:
        raise KeyError("secret")

    planner.plan_batch = fail  # type: ignore[method-assign]
    with running(known_server(planner, goal=frame(1))) as server:
        robot = open_session(server)
        answer = ask(robot, observation(1))
        assert "the server failed (KeyError)" in answer and "secret" not in answer
        with pytest.raises(ConnectionClosedError) as closed:
            robot.recv(LONG)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1011
        assert server.unwell() is None
        assert reply_of(pack({"still": 1})) and ask(open_session(server), {"wmplan": "statistics"})
    assert "secret" in caplog.text


def array_of_dtype(dtype: Any) -> bytes:
    """A message that is no array of ours, quoted in what is said about it."""
    import msgpack

    return msgpack.packb({b"__ndarray__": True, b"dtype": dtype, b"data": b"", b"shape": []})


@pytest.mark.parametrize(
    "message",
    [
        array_of_dtype(b"\0" * 3_000_000),
        array_of_dtype("ä" * 400),
        array_of_dtype("\U0001f916" * 16_000),
        array_of_dtype("x\r\n1970-01-01 00:00:00,000 session of 10.0.0.1:1 ended: forged"),
        pack({"a" * 60_000: 1})[:-1] + b"\xc1",
        b"\x82" + 2 * (b"\xda\x80\x00" + b"k" * 32768 + b"\x01"),  # the same key twice
        b"\xda\x00\x05\xff\xfe\xfd\xfc\xfb",  # a text that is no UTF-8
        b"\x92\xd9\x05\x1b[31m\xc1",
    ],
    ids=["bytes", "umlauts", "emoji", "forged line", "long key", "twice", "no UTF-8", "escape"],
)
def test_what_is_quoted_of_a_message_is_short_and_one_line(message: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with running(known_server(KnownPlanner(), goal=frame(1))) as server:
        robot = open_session(server)
        robot.send(message)
        answer = robot.recv(LONG)
        with pytest.raises(ConnectionClosedError) as closed:
            robot.recv(LONG)
    assert isinstance(answer, str) and len(answer.encode()) < 2000 and answer.isprintable()
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1007
    assert answer.startswith(closed.value.rcvd.reason) and len(closed.value.rcvd.reason) > 20
    assert all(len(line) < 600 and line.isprintable() for line in caplog.messages)
    assert sum("ended" in line for line in caplog.messages) == 1


def test_what_planning_quotes_is_short_and_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Of an error that is told to the client, of the last of too many, and of a bug of ours."""
    planner = KnownPlanner()

    def refuse(sessions: Any, requests: Any) -> Any:
        raise error("no\nway\x1b" + "ü" * 10**6)

    planner.plan_batch = refuse  # type: ignore[method-assign]
    with running(known_server(planner, goal=frame(1))) as server:
        for error in (ValueError, KeyError):
            robot = open_session(server)
            answers = []
            with pytest.raises(ConnectionClosedError) as closed:
                while True:
                    answers.append(ask(robot, observation(1)))
                    assert isinstance(answers[-1], str)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == {ValueError: 1008, KeyError: 1011}[error]
            assert all(len(answer) <= 400 and answer.isprintable() for answer in answers)
    for record in caplog.messages:
        lines = record.split("\n")
        assert len(lines) < 50 and all(len(line) < 600 and line.isprintable() for line in lines)


def test_the_token_is_neither_logged_nor_told(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture) -> None:
    caplog.set_level("DEBUG")
    told = []
    with running(known_server(KnownPlanner(), token=TOKEN, goal=frame(1))) as server:
        for path, shown in (("/metrics", TOKEN), (f"/metrics?token={TOKEN}", TOKEN + "x"), ("/healthz", TOKEN)):
            told.append(get(server, path, shown)[1])
        robot = open_session(server, additional_headers={"Authorization": f"Bearer {TOKEN}"})
        robot.send(b"\xc1")
        told.append(str(robot.recv(LONG)))
        with pytest.raises(InvalidStatus) as refused:
            open_session(server, additional_headers={"Authorization": TOKEN})
        told.append(str(refused.value.response))
    server_log = [one.getMessage() for one in caplog.records if one.name.startswith("wmplan")]
    assert len(server_log) > 0 and not any(TOKEN in text for text in told + server_log)
    assert not any(TOKEN in text for text in capfd.readouterr())


# ------------------------------------------------------------------ batches


def test_requests_that_wait_together_are_planned_together() -> None:
    planner = KnownPlanner()
    with running(known_server(planner, goal=frame(1), max_batch=8)) as server:
        robots = [open_session(server) for _ in range(10)]
        know_the_goal(planner, robots)
        planner.gate.clear()
        for value, robot in enumerate(robots):
            robot.send(pack(observation(value)))
            if not value:
                until(planner.begun.is_set)  # the first is planned alone, the others wait meanwhile
        until(lambda: [job.call for job in server.planning._jobs] == 9 * [None])
        planner.gate.set()
        replies = [reply_of(robot.recv(LONG)) for robot in robots]
        assert [round(100 * float(reply["actions"][0, 1])) for reply in replies] == list(range(10))
        assert planner.batches == [1, 8, 1]
        assert "wmplan_server_planned_total 20\n" in server.metrics_text()
        assert "wmplan_server_batches_total 13\n" in server.metrics_text()
        for robot in robots:
            robot.close()


def test_a_client_in_a_hurry_does_not_cut_short_what_others_are_told() -> None:
    """A batch ends at its earliest deadline."""
    planner, deadlines = KnownPlanner(), []
    plan_batch = planner.plan_batch

    def note(sessions: Any, requests: Any) -> Any:
        deadlines.append([request.deadline_ms for request in requests])
        return plan_batch(sessions, requests)

    planner.plan_batch = note  # type: ignore[method-assign]
    with running(known_server(planner, goal=frame(1))) as server:
        robots = [open_session(server) for _ in range(5)]
        know_the_goal(planner, robots)
        deadlines.clear()
        planner.gate.clear()
        robots[0].send(pack(observation(1)))
        until(planner.begun.is_set)
        for robot, deadline in zip(robots[1:], (None, 0.0, 1e7, 0.0), strict=True):
            robot.send(pack(observation(1, deadline_ms=deadline)))
        until(lambda: len(server.planning._jobs) == 4)
        planner.gate.set()
        for robot in robots:
            robot.recv(LONG)
            robot.close()
    assert deadlines[:2] == [[None], [0.0, 0.0]]
    assert deadlines[2][0] is None and 0.9e7 < deadlines[2][1] <= 1e7 and len(deadlines) == 3


def test_a_client_that_goes_away_while_it_waits_leaves_the_others_alone() -> None:
    planner = KnownPlanner()
    with running(known_server(planner, goal=frame(1))) as server:
        one, other = open_session(server), open_session(server)
        planner.gate.clear()
        one.send(pack(observation(1)))
        until(planner.begun.is_set)
        other.send(pack(observation(2)))
        until(lambda: len(server.planning._jobs) == 1)
        other.socket.shutdown(socket.SHUT_RDWR)
        planner.gate.set()
        assert reply_of(one.recv(LONG))["cost"] == 1.0
        until(lambda: server.metrics.sessions == 1)
        assert ask(one, observation(1))["cost"] == 2.0
        one.close()


# ------------------------------------------------------------------ who is let in


def test_without_the_token_there_is_nothing_but_a_refusal() -> None:
    with running(known_server(KnownPlanner(), token=TOKEN, goal=frame(1))) as server:
        url = f"ws://127.0.0.1:{server.port}"
        for header in [None, "Api-Key wrong", f"Api-Key {TOKEN[:-1]}", f"Api-Key {TOKEN}x", TOKEN, f"api-key{TOKEN}"]:
            with pytest.raises(InvalidStatus) as refused:
                headers = None if header is None else {"Authorization": header}
                connect(url, additional_headers=headers, proxy=None).__enter__()
            assert refused.value.response.status_code == 401
            assert refused.value.response.body == b"a token is needed\n"
        doubled = [("Authorization", f"Api-Key {TOKEN}"), ("Authorization", "Api-Key wrong")]
        with pytest.raises(InvalidStatus):
            connect(url, additional_headers=doubled, proxy=None).__enter__()
        assert get(server, "/metrics")[0] == 401 and get(server, "/metrics", "wrong")[0] == 401
        assert get(server, "/healthz") == (200, "OK\n")
        assert server.metrics.opened == 0 and server.metrics.refused["token"] == 9

        robot = open_session(server, additional_headers={"Authorization": f"Api-Key {TOKEN}"})
        assert ask(robot, observation(5))["cost"] == 1.0
        status, text = get(server, "/metrics", TOKEN)
        assert status == 200 and 'wmplan_server_refused_total{reason="token"} 9\n' in text
        robot.close()


def test_web_pages_are_not_let_in() -> None:
    with running(known_server(KnownPlanner())) as server:
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://127.0.0.1:{server.port}", origin="http://evil.example", proxy=None).__enter__()  # type: ignore
        assert refused.value.response.status_code == 403


def test_more_sessions_than_there_is_room_for_are_refused_until_one_ends() -> None:
    with running(known_server(KnownPlanner(), goal=frame(1), max_sessions=2)) as server:
        robots = [open_session(server) for _ in range(2)]
        with pytest.raises(InvalidStatus) as refused:
            open_session(server)
        assert refused.value.response.status_code == 503
        robots.pop().close()
        until(lambda: server.metrics.sessions == 1)
        robots.append(open_session(server))
        for robot in robots:
            assert ask(robot, observation(5))["cost"] == 1.0
            robot.close()


def test_connections_that_say_nothing_do_not_keep_others_out() -> None:
    with running(known_server(KnownPlanner(), goal=frame(1), max_sessions=2)) as server:
        silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
        until(lambda: server.metrics.refused["connections"] >= 150)
        until(lambda: len(server.connections) <= 2 + 32)
        for one in silent:
            one.close()
        until(lambda: len(server.connections) == 0)
        robot = open_session(server)
        assert ask(robot, observation(5))["cost"] == 1.0
        robot.close()


def half_open(server: PolicyServer, text: bytes = b"GET / HTTP/1.1\r\n") -> socket.socket:
    """A connection whose request has no end."""
    line = socket.create_connection(("127.0.0.1", server.port), timeout=LONG)
    line.sendall(text)
    return line


@pytest.mark.parametrize(
    "text", [b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n" + 100 * b"A: b\r\n", b"\x16\x03\x01"]
)
def test_half_open_connections_shut_out_neither_health_nor_robots(text: bytes) -> None:
    with running(known_server(KnownPlanner(), goal=frame(1), max_sessions=2)) as server:
        known = open_session(server)
        held = [half_open(server, text) for _ in range(60)]
        until(lambda: len(server.handshakes) == 2 + 16 and server.metrics.refused["connections"] >= 42)
        for _ in range(10):
            assert get(server, "/healthz") == (200, "OK\n")
        assert 'refused_total{reason="connections"}' in get(server, "/metrics")[1]
        robot = open_session(server)
        for one in (robot, known):
            assert ask(one, observation(5))["cost"] == 1.0
            one.close()
        for line in held:
            line.close()
        until(lambda: not server.connections and not server.handshakes)


def test_a_full_server_still_answers_health_and_metrics() -> None:
    with running(known_server(KnownPlanner(), goal=frame(1), max_sessions=1)) as server:
        robot = open_session(server)
        for _ in range(3):
            with pytest.raises(InvalidStatus):
                open_session(server)
        assert get(server, "/healthz") == (200, "OK\n")
        assert 'refused_total{reason="full"} 3\n' in get(server, "/metrics")[1]
        assert ask(robot, observation(5))["cost"] == 1.0
        robot.close()


def test_a_request_that_comes_drop_by_drop_is_cut_off_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wmplan.serving.server.HANDSHAKE_SECONDS", 0.3)
    with running(known_server(KnownPlanner(), goal=frame(1))) as server:
        line = half_open(server)
        begun = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - begun < LONG:
                line.sendall(b"A: b\r\n")
                time.sleep(0.02)
        until(lambda: not server.connections)
        assert get(server, "/healthz") == (200, "OK\n")


@pytest.mark.parametrize(("lines", "length"), [(1, 100_000), (200, 8000), (1000, 10)])
def test_a_request_without_measure_is_refused(lines: int, length: int) -> None:
    with running(known_server(KnownPlanner(), goal=frame(1))) as server:
        line = half_open(server, b"GET / HTTP/1.1\r\n")
        with contextlib.suppress(OSError):
            line.sendall(lines * (b"X: " + length * b"a" + b"\r\n") + b"\r\n")
            answer = line.recv(4096)
            assert answer.startswith(b"HTTP/1.1 4") and len(answer) < 1000
        line.close()
        until(lambda: not server.connections)
        assert server.metrics.opened == 0 and get(server, "/healthz")[0] == 200


def test_sessions_that_have_not_said_a_word_make_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wmplan.serving.server.SILENT_SECONDS", 0.0)
    with running(known_server(KnownPlanner(), goal=frame(1), max_sessions=3)) as server:
        known = open_session(server)
        assert ask(known, observation(5))["cost"] == 1.0
        silent = [open_session(server) for _ in range(2)]
        others = [open_session(server) for _ in range(2)]
        for one in silent:  # in the order in which they came
            with pytest.raises(ConnectionClosedError) as closed:
                one.recv(LONG)
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1013
        for one in others:
            assert ask(one, observation(5))["cost"] == 1.0
        with pytest.raises(InvalidStatus):  # all that are left have work to do
            open_session(server)
        assert ask(known, observation(5))["cost"] == 2.0
        assert server.metrics.sessions == len(server.conversations) == 3
        assert server.metrics.ended["silent"] == 2
        for one in (known, *others):
            one.close()
        until(lambda: server.metrics.sessions == 0)


def test_a_session_has_time_to_say_its_first_word() -> None:
    with running(known_server(KnownPlanner(), goal=frame(1), max_sessions=1)) as server:
        robot = open_session(server)
        with pytest.raises(InvalidStatus):
            open_session(server)
        assert ask(robot, observation(5))["cost"] == 1.0
        robot.close()


def test_one_address_may_be_kept_from_taking_all_sessions() -> None:
    with running(known_server(KnownPlanner(), goal=frame(1), max_sessions=4, max_sessions_per_address=2)) as server:
        mine = [open_session(server) for _ in range(2)]
        with pytest.raises(InvalidStatus) as refused:
            open_session(server)
        assert refused.value.response.status_code == 503
        other = open_session(server, sock=socket.create_connection(("127.0.0.1", server.port), LONG, ("127.0.0.2", 0)))
        mine.pop().close()
        until(lambda: server.metrics.sessions == 2)
        mine.append(open_session(server))
        for one in (*mine, other):
            assert ask(one, observation(5))["cost"] == 1.0
            one.close()


def test_a_crowd_at_an_ipv6_address_is_a_crowd_too() -> None:
    server = known_server(KnownPlanner(), goal=frame(1), max_sessions=2)
    server.config = replace(server.config, host="::1")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with running(server):
        held = [socket.create_connection(("::1", server.port), timeout=LONG) for _ in range(40)]
        until(lambda: len(server.handshakes) == 18 and server.metrics.refused["connections"] >= 22)
        with connect(f"ws://[::1]:{server.port}", compression=None, proxy=None) as robot:
            assert reply_of(robot.recv(LONG)) == METADATA
            robot.send(b"\xc1")
            assert "msgpack" in str(robot.recv(LONG))
        for one in held:
            one.close()


def test_a_message_of_endless_fragments_ends_its_session() -> None:
    with running(known_server(KnownPlanner(), goal=frame(1), slow_seconds=1.0)) as server:
        bystander, line = open_session(server), raw_session(server)
        with contextlib.suppress(OSError):
            line.sendall(b"\x02\x80" + bytes(4))  # the first of a binary message, empty
            line.sendall(20_000 * (b"\x00\x80" + bytes(4)))
        until(lambda: server.metrics.ended["size"] == 1)
        assert ask(bystander, observation(5))["cost"] == 1.0
        bystander.close()
        line.close()


def test_a_close_frame_with_a_reason_that_is_no_text_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with running(known_server(KnownPlanner(), goal=frame(1))) as server:
        bystander, line = open_session(server), raw_session(server)
        reason = b"\x03\xe8" + b"\xff\xfe\n forged"
        line.sendall(b"\x88" + bytes([0x80 | len(reason)]) + bytes(4) + reason)
        until(lambda: server.metrics.sessions == 1)
        assert ask(bystander, observation(5))["cost"] == 1.0
        bystander.close()
        line.close()
    assert "forged" not in caplog.text


def test_metrics_are_prometheus_text() -> None:
    with running(known_server(KnownPlanner(), goal=frame(1))) as server:
        robot = open_session(server)
        ask(robot, observation(5))
        ask(robot, {"wmplan": "stop"})
        _, text = get(server, "/metrics")
        robot.close()
    samples = {}
    for line in text.splitlines():
        if not line.startswith(("# HELP wmplan_", "# TYPE wmplan_")):
            name, value = line.rsplit(" ", 1)
            samples[name] = float(value)
    assert samples["wmplan_server_sessions"] == 1
    assert samples['wmplan_server_messages_total{kind="infer"}'] == 1
    assert samples['wmplan_server_wrong_messages_total{reason="message"}'] == 1
    assert samples['wmplan_server_plan_seconds{quantile="0.99"}'] == 0.001
    assert samples["wmplan_server_plan_seconds_count"] == samples["wmplan_server_infer_seconds_count"] == 1


def test_health_tells_that_planning_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wmplan.serving.server.STUCK_SECONDS", 0.05)
    planner = KnownPlanner()
    with running(known_server(planner, goal=frame(1))) as server:
        robot = open_session(server)
        planner.gate.clear()
        robot.send(pack(observation(1)))
        until(lambda: get(server, "/healthz")[0] == 503)
        planner.gate.set()
        robot.recv(LONG)
        until(lambda: get(server, "/healthz") == (200, "OK\n"))
        robot.close()


# ------------------------------------------------------------------ what clients do wrong, on purpose or not


def test_a_message_over_the_limit_closes_that_session_alone() -> None:
    with running(known_server(KnownPlanner(), goal=frame(1), max_message_bytes=100_000)) as server:
        robot, bystander = open_session(server), open_session(server)
        with pytest.raises(ConnectionClosedError) as closed:
            ask(robot, observation(1, prompt=bytes(100_001)))
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009
        until(lambda: server.metrics.ended["size"] == 1)
        assert ask(bystander, observation(5))["cost"] == 1.0
        bystander.close()


@pytest.mark.parametrize("data", [b"\xc1", b"", b"\x91" * 1000, b"\x80\x04N.", "text"])
def test_what_is_no_message_is_answered_and_ends_that_session_alone(data: bytes | str) -> None:
    with running(known_server(KnownPlanner(), goal=frame(1))) as server:
        robot, bystander = open_session(server), open_session(server)
        robot.send(data)
        assert isinstance(robot.recv(LONG), str)
        with pytest.raises(ConnectionClosedError) as closed:
            robot.recv(LONG)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1007
        assert ask(bystander, observation(5))["cost"] == 1.0
        bystander.close()


def test_malformed_messages_through_the_socket_leave_the_session_beside_them_alone() -> None:
    """Four hundred of them, at every layer: messages, frames, handshakes. The seed is fixed."""
    rng = random.Random(0)
    planner = KnownPlanner()
    good = [pack(observation(1)), pack({"wmplan": "set_goal", "goal": {"pixels": frame(1)}}), pack({"wmplan": "reset"})]

    def harm(server: PolicyServer) -> None:
        kind = rng.randrange(3)
        if kind == 0:  # a message with bytes changed
            connection = open_session(server)
            data = bytearray(rng.choice(good))
            for _ in range(rng.randrange(1, 5)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            try:
                for _ in range(3):
                    connection.send(bytes(data))
                    connection.recv(LONG)
                connection.close()
            except ConnectionClosed:
                pass
            return
        with socket.create_connection(("127.0.0.1", server.port), timeout=LONG) as line:
            upgrade = (
                f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            ).encode()
            if kind == 1:  # a handshake with bytes changed
                broken = bytearray(upgrade)
                for _ in range(rng.randrange(1, 8)):
                    broken[rng.randrange(len(broken))] = rng.randrange(256)
                line.sendall(broken + (b"\r\n\r\n" if rng.random() < 0.5 else b""))
            else:  # noise in place of frames
                line.sendall(upgrade)
                line.recv(4096)
                line.sendall(rng.randbytes(rng.randrange(1, 200)))

    with running(known_server(planner, goal=frame(7))) as server:
        robot = open_session(server)
        for _ in range(50):
            harm(server)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        plans = 0
        for step in range(350):
            harm(server)
            if step % 10 == 0:
                plans += 1
                reply = ask(robot, observation(plans))
                assert reply["cost"] == plans
                np.testing.assert_allclose(reply["actions"][0], [0.07, plans / 100], rtol=1e-6)
        planner.sessions = planner.sessions[:1]
        until(lambda: server.metrics.sessions == 1)
        until(lambda: len(server.connections) == 1)
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert after - before < 2_000_000, (before, after)
        assert server.unwell() is None
        robot.close()


def test_an_idle_client_is_dropped_and_a_lively_one_is_not() -> None:
    with running(known_server(KnownPlanner(), goal=frame(1), idle_seconds=1.0)) as server:
        idle, lively = open_session(server), open_session(server)
        while server.metrics.ended["idle"] == 0:
            ask(lively, observation(1))
            time.sleep(0.1)
        with pytest.raises(ConnectionClosed) as closed:
            idle.recv(LONG)  # what the server says
            idle.recv(LONG)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
        assert isinstance(ask(lively, observation(1)), dict)
        lively.close()


def raw_session(server: PolicyServer) -> socket.socket:
    """A websocket without a client library behind it, so that nothing reads or answers pings."""
    line = socket.create_connection(("127.0.0.1", server.port), timeout=LONG)
    line.sendall(
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert b" 101 " in line.recv(64)
    return line


def test_a_client_that_does_not_read_is_dropped() -> None:
    with running(known_server(KnownPlanner(), goal=frame(1), slow_seconds=0.5)) as server:
        robot, line = open_session(server), raw_session(server)
        until(lambda: server.metrics.ended["slow"] == 1)
        until(lambda: server.metrics.sessions == 1)
        assert ask(robot, observation(5))["cost"] == 1.0
        line.close()
        robot.close()


def test_a_client_that_sends_byte_by_byte_is_idle() -> None:
    with running(known_server(KnownPlanner(), goal=frame(1), idle_seconds=1.0)) as server:
        line = raw_session(server)
        line.sendall(b"\x82\xfe\xff\xff" + bytes(4))  # the head of a frame of 65535 bytes
        while server.metrics.ended["idle"] == 0:
            line.sendall(b"x")
            time.sleep(0.05)
        line.close()


def test_what_comes_faster_than_allowed_waits() -> None:
    with running(known_server(KnownPlanner(), goal=frame(1), max_rate=20)) as server:
        robot = open_session(server)
        begun = time.monotonic()
        for _ in range(25):
            robot.send(pack(observation(1)))
        costs = [reply_of(robot.recv(LONG))["cost"] for _ in range(25)]
        assert costs == list(range(1, 26))  # all are answered, in order
        assert time.monotonic() - begun > 0.9  # 5 at once, then 20 a second
        robot.close()


# ------------------------------------------------------------------ the end


def test_replies_under_way_are_sent_before_the_end() -> None:
    planner = KnownPlanner()
    with running(known_server(planner, goal=frame(1), drain_seconds=LONG)) as server:
        busy, idle = open_session(server), open_session(server)
        planner.gate.clear()
        busy.send(pack(observation(5)))
        until(planner.begun.is_set)
        ended = server.submit(server.stop())  # type: ignore[attr-defined]
        with pytest.raises(ConnectionClosedOK) as closed:
            idle.recv(LONG)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
        assert not ended.done()
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", server.port), timeout=1)
        planner.gate.set()
        assert reply_of(busy.recv(LONG))["cost"] == 1.0
        with pytest.raises(ConnectionClosedOK):
            busy.recv(LONG)
        ended.result(LONG)


def test_the_end_does_not_wait_for_ever() -> None:
    planner = KnownPlanner()
    with running(known_server(planner, goal=frame(1), drain_seconds=0.2)) as server:
        robot = open_session(server)
        planner.gate.clear()
        robot.send(pack(observation(5)))
        until(planner.begun.is_set)
        server.submit(server.stop()).result(LONG)  # type: ignore[attr-defined]
        assert not planner.gate.is_set() and not server.connections
        with pytest.raises(ConnectionClosed):
            robot.recv(LONG)
        planner.gate.set()


# ------------------------------------------------------------------ many at once


def test_many_robots_at_once_each_get_their_own() -> None:
    planner = KnownPlanner()

    def drive(index: int, server: PolicyServer) -> None:
        robot = open_session(server)
        set_goal(robot, index)
        ask(robot, {"wmplan": "reset", "seed": index})
        for step in range(1, 20):
            reply = ask(robot, observation(step, epoch=step))
            assert (reply["cost"], reply["epoch"]) == (1000 * index + step, step)
            np.testing.assert_allclose(reply["actions"][0], [index / 100, step / 100], rtol=1e-6)
        robot.close()

    with running(known_server(planner)) as server, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda index: drive(index, server), range(8)))
    assert sum(planner.batches) == 8 * 19


def test_the_server_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())
    with running(known_server(KnownPlanner())) as server:
        open_session(server).close()
    until(lambda: set(threading.enumerate()) <= before)
    assert not os.environ.get("WMPLAN_TOKEN")
