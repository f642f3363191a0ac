"""The client against real servers that answer, fall silent, are killed and come back."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wmplan.control.backend import PlanRequest
from wmplan.serving.client import PolicyClient, PolicyError, PolicyRefused, PolicyUnavailable

sys.path.insert(0, str(Path(__file__).parent))
from serving import METADATA, TOKEN, KnownPlanner, frame, known_server, observation, running, until

LONG = 60.0


def client_of(server: Any, **options: Any) -> PolicyClient:
    return PolicyClient(f"ws://127.0.0.1:{server.port}", **{"timeout": LONG, **options})


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def request(value: int, **more: Any) -> PlanRequest:
    return PlanRequest(observation(value), **more)


def test_it_needs_neither_torch_nor_anything_else_that_is_heavy() -> None:
    program = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'scipy', 'mujoco', 'gymnasium', 'hydra', 'PIL', 'h5py'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "import wmplan.control, wmplan.serving.client, wmplan.control.backend, wmplan.serving\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_session_from_goal_to_statistics() -> None:
    with running(known_server(KnownPlanner())) as server, client_of(server) as client:
        assert client.metadata == METADATA
        client.set_goal(frame(40))
        client.reset(3)
        committed = np.full((4, 2), 0.5, np.float32)
        reply = client.plan(request(6, committed=committed, executed=np.zeros((2, 2)), deadline_ms=1e6, epoch=5))
        np.testing.assert_allclose(reply.actions, np.full((11, 2), [0.4, 0.06]), rtol=1e-6)
        assert (reply.epoch, reply.cost, reply.plan_ms, reply.surprise, reply.feasible) == (5, 3001.0, 1.0, None, True)
        client.set_goal({"pixels": frame(50), "proprio": np.zeros(2, np.float32)})
        assert client.plan(request(6)).actions[0, 0] == np.float32(0.5)
        assert client.statistics()["plans"] == 2
        assert client.infer(observation(9))["actions"][0, 1] == np.float32(0.09)


def test_what_the_server_finds_wrong_is_an_error_and_the_session_goes_on() -> None:
    with running(known_server(KnownPlanner())) as server, client_of(server) as client:
        with pytest.raises(PolicyError, match="no goal yet"):
            client.plan(request(1))
        client.set_goal(frame(40))
        with pytest.raises(PolicyError, match="goal: pixels must be a uint8 array of shape"):
            client.set_goal(np.zeros((9, 9, 3), np.uint8))
        with pytest.raises(
            PolicyError,
            match=r"says: proprio must be an array of numbers of shape \(2,\), got a float64 array of shape \(3,\)",
        ):
            client.plan(PlanRequest({"pixels": frame(1), "proprio": np.zeros(3)}))
        assert client.plan(request(1)).actions[0, 0] == np.float32(0.4) and client.connections == 1


def test_cameras_that_the_model_does_not_see_are_not_sent() -> None:
    with running(known_server(KnownPlanner(), goal=frame(1))) as server, client_of(server) as client:
        assert client.plan(PlanRequest(observation(1, wrist=frame(2)))).cost == 1.0


def test_the_token() -> None:
    with running(known_server(KnownPlanner(), token=TOKEN)) as server:
        for token in (None, "wrong"):
            with pytest.raises(PolicyRefused, match="a token is needed"):
                client_of(server, token=token)
        client_of(server, token=TOKEN).close()


def test_it_waits_for_a_server_that_is_just_starting() -> None:
    port = free_port()
    with ThreadPoolExecutor(1) as pool:
        client = pool.submit(PolicyClient, f"127.0.0.1:{port}", connect_timeout=LONG)
        time.sleep(0.3)
        with running(known_server(KnownPlanner(), port=port)):
            client.result(LONG).close()


# ------------------------------------------------------------------ a server that comes and goes


def test_a_late_answer_is_never_taken_for_that_of_a_later_call() -> None:
    planner = KnownPlanner()
    with running(known_server(planner, goal=frame(1))) as server, client_of(server, timeout=0.5) as client:
        client.reset(2)
        assert client.plan(request(1)).cost == 2001.0
        planner.gate.clear()
        with pytest.raises(PolicyUnavailable, match="did not answer within 0.5 s"):
            client.plan(request(11))
        planner.gate.set()
        client.timeout = LONG
        reply = client.plan(request(22))
        assert reply.actions[0, 1] == np.float32(0.22)
        assert reply.cost == 2001.0 and client.connections == 2  # a new session, with the same seed


def test_after_a_restart_seed_and_goal_are_sent_again() -> None:
    port = free_port()
    with running(known_server(KnownPlanner(), port=port)):
        client = PolicyClient(f"127.0.0.1:{port}", timeout=1.0)
        client.set_goal(frame(40))
        client.reset(6)
        assert client.plan(request(1)).cost == 6001.0
    with pytest.raises(PolicyUnavailable):
        client.plan(request(1))  # notices, or finds nobody
    with pytest.raises(PolicyUnavailable, match="does not answer"):
        client.plan(request(1))
    with pytest.raises(PolicyUnavailable):
        client.set_goal(frame(50))  # kept for later
    client.timeout = LONG
    planner = KnownPlanner()
    with running(known_server(planner, port=port)):
        reply = client.plan(request(1))
        assert reply.cost == 6001.0 and reply.actions[0, 0] == np.float32(0.5)
        assert planner.sessions[0].goals == 1 and client.connections == 2
        client.close()


def test_attempts_to_connect_grow_rarer(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(known_server(KnownPlanner())) as server:
        client = client_of(server, timeout=2.0)
    attempts: list[float] = []

    def count(*arguments: Any) -> None:
        attempts.append(time.monotonic())
        raise ConnectionRefusedError("refused")

    monkeypatch.setattr(client, "_open", count)
    for _ in range(2):
        with pytest.raises(PolicyUnavailable):
            client.plan(request(1))
    gaps = np.diff(attempts)
    for gap, least in zip(gaps, [0.05, 0.1, 0.2, 0.4, 0.8], strict=False):
        assert gap >= least
    assert 4 <= len(attempts) <= 7  # within four seconds


def test_another_model_behind_the_same_address_is_not_driven_by() -> None:
    port = free_port()
    with running(known_server(KnownPlanner(), port=port)):
        client = PolicyClient(f"127.0.0.1:{port}", timeout=LONG)
    other = known_server(KnownPlanner(), port=port, goal=frame(1))
    other.served.metadata["action_high"] = [2.0, 2.0]  # type: ignore[index]
    try:
        with running(other), pytest.raises(PolicyError, match="another model: action_high changed"):
            client.plan(request(1))
    finally:
        other.served.metadata["action_high"] = [1.0, 1.0]  # type: ignore[index]
        client.close()


def test_closing_ends_a_call_that_waits_in_another_thread() -> None:
    planner = KnownPlanner()
    with running(known_server(planner, goal=frame(1))) as server:
        client = client_of(server)
        planner.gate.clear()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(client.plan, request(1))
            assert planner.begun.wait(LONG)
            client.close()
            with pytest.raises(PolicyUnavailable):
                waiting.result(LONG)
        planner.gate.set()
        with pytest.raises(PolicyUnavailable, match="closed"):
            client.plan(request(1))


def test_calls_from_several_threads_get_their_own_replies() -> None:
    with running(known_server(KnownPlanner(), goal=frame(1))) as server, client_of(server) as client:
        with ThreadPoolExecutor(4) as pool:
            replies = list(pool.map(lambda value: client.plan(request(value, epoch=value)), range(40)))
        for value, reply in enumerate(replies):
            assert reply.epoch == value and reply.actions[0, 1] == np.float32(value / 100)


# ------------------------------------------------------------------ a server that is full or slow


def test_a_full_server_is_unavailable_and_is_tried_again() -> None:
    with running(known_server(KnownPlanner(), goal=frame(1), max_sessions=1)) as server:
        robot = client_of(server)
        assert robot.plan(request(1)).cost == 1.0
        with pytest.raises(PolicyUnavailable, match="does not answer: no room for another session"):
            client_of(server, connect_timeout=0.3)
        assert server.metrics.refused["full"] > 1
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(client_of, server, connect_timeout=LONG)
            refused = server.metrics.refused["full"]
            until(lambda: server.metrics.refused["full"] > refused)
            robot.close()
            with waiting.result(LONG) as other:
                assert other.plan(request(1)).cost == 1.0


def test_a_session_that_had_to_make_room_is_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wmplan.serving.server.SILENT_SECONDS", 0.0)
    with running(known_server(KnownPlanner(), goal=frame(1), max_sessions=1)) as server:
        first, second = client_of(server), client_of(server)
        second.plan(request(1))
        second.close()
        until(lambda: server.metrics.sessions == 0)
        assert first.plan(request(1)).cost == 1.0 and first.connections == 2
        first.close()


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 101 Swit"])
def test_connections_that_are_cut_during_the_handshake_are_tried_again(said: bytes) -> None:
    """As those of a crowd are: by a reset, before or while the client sends, or in the middle of the answer."""
    port, attempts = free_port(), []
    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.settimeout(LONG)

        def cut_off() -> None:
            for _ in range(5):
                line, _ = listener.accept()
                attempts.append(line)
                line.sendall(said)
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close() resets
                line.close()

        with ThreadPoolExecutor(2) as pool:
            done = pool.submit(cut_off)
            with pytest.raises(PolicyUnavailable, match="does not answer"):
                PolicyClient(f"127.0.0.1:{port}", connect_timeout=0.2)
            assert len(attempts) > 1
            waiting = pool.submit(PolicyClient, f"127.0.0.1:{port}", connect_timeout=LONG)
            done.result(LONG)
            listener.close()
            with running(known_server(KnownPlanner(), port=port, goal=frame(1))), waiting.result(LONG) as client:
                assert client.plan(request(1)).cost == 1.0
