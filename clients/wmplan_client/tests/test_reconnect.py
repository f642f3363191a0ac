"""A robot's session over servers that go and come back; the server reads and writes with msgpack alone."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import numpy as np
import pytest
from websockets.sync.server import ServerConnection, serve

from wmplan_client import PlanRequest, PolicyClient, PolicyError, PolicyUnavailable

LONG = 60.0
METADATA = {
    "protocol": "wmplan/1",
    "action_horizon": 1,
    "action_low": [-1.0],
    "action_high": [1.0],
    "action_dim": 1,
    "control_rate": 10.0,
    "image_size": [2, 2],
    "cameras": ["pixels"],
    "proprio_dim": 0,
}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def frame(value: int) -> np.ndarray:
    return np.full((2, 2, 3), value, np.uint8)


def array_in(table: dict[Any, Any]) -> Any:
    """An array as the page of the protocol says it is written."""
    if b"__ndarray__" in table:
        return np.ndarray(table[b"shape"], table[b"dtype"], table[b"data"])
    return table


def array_out(array: np.ndarray) -> dict[bytes, Any]:
    return {b"__ndarray__": True, b"data": array.tobytes(), b"dtype": array.dtype.str, b"shape": array.shape}


@contextmanager
def planner(port: int, heard: list[dict[str, Any]], **changes: Any) -> Iterator[None]:
    """A server whose plans tell seed and goal, and which keeps what it was told."""
    connections: list[ServerConnection] = []

    def handle(connection: ServerConnection) -> None:
        connections.append(connection)
        seed = goal = 0
        connection.send(msgpack.packb({**METADATA, **changes}))
        for data in connection:
            message = msgpack.unpackb(data, object_hook=array_in)
            heard.append(message)
            if message.get("wmplan") == "reset":
                seed = message["seed"]
            elif message.get("wmplan") == "set_goal":
                goal = int(message["goal"][0, 0, 0])
            actions = array_out(np.full((3, 1), goal / 100, "<f4"))
            reply = {"actions": actions, "epoch": message.get("epoch", 0), "cost": float(seed)}
            connection.send(msgpack.packb({**reply, "plan_ms": 1.0, "surprise": None, "feasible": True}))

    with serve(handle, "127.0.0.1", port, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            for connection in connections:
                connection.close()
            thread.join(LONG)


def test_what_is_sent_is_what_msgpack_reads() -> None:
    port, heard = free_port(), []  # type: int, list[dict[str, Any]]
    with planner(port, heard), PolicyClient(f"127.0.0.1:{port}", timeout=LONG) as client:
        assert client.metadata == METADATA
        executed, committed = np.full((2, 1), 0.5), np.zeros((1, 1))
        client.plan(PlanRequest({"pixels": frame(7), "wrist": frame(8)}, executed, committed, 20.0, epoch=4))
    (message,) = heard
    assert message.keys() == {"pixels", "executed", "committed", "deadline_ms", "epoch"}  # no camera it does not see
    np.testing.assert_array_equal(message["pixels"], frame(7), strict=True)
    np.testing.assert_array_equal(message["executed"], executed.astype(np.float32), strict=True)
    np.testing.assert_array_equal(message["committed"], committed.astype(np.float32), strict=True)
    assert (message["deadline_ms"], message["epoch"]) == (20.0, 4)


def test_seed_and_goal_are_told_to_the_server_that_comes_back() -> None:
    port, heard = free_port(), []  # type: int, list[dict[str, Any]]
    with planner(port, []):
        client = PolicyClient(f"127.0.0.1:{port}", timeout=1.0)
        client.reset(np.int64(6))
        client.set_goal(frame(40))
        assert client.plan(PlanRequest({"pixels": frame(1)})).cost == 6.0
    with pytest.raises(PolicyUnavailable):
        client.plan(PlanRequest({"pixels": frame(1)}))
    with pytest.raises(PolicyUnavailable):
        client.set_goal(frame(50))  # kept until someone is there
    client.timeout = LONG
    with planner(port, heard):
        reply = client.plan(PlanRequest({"pixels": frame(1)}, epoch=9))
        assert (reply.cost, reply.epoch, client.connections) == (6.0, 9, 2)
        np.testing.assert_array_equal(reply.actions, np.full((3, 1), 0.5, np.float32), strict=True)
        assert [message.get("wmplan") for message in heard] == ["reset", "set_goal", None]
        client.close()


def test_the_servers_goal_is_not_changed_by_what_the_robot_does_to_its_frame() -> None:
    port = free_port()
    goal = frame(40)
    with planner(port, []):
        client = PolicyClient(f"127.0.0.1:{port}", timeout=LONG)
        client.set_goal(goal)
        goal[:] = 0
    with planner(port, []):
        assert client.plan(PlanRequest({"pixels": frame(1)})).actions[0, 0] == np.float32(0.4)
        client.close()


@pytest.mark.parametrize("change", [{"action_high": [2.0]}, {"cameras": ["wrist"]}, {"control_rate": 5.0}])
def test_another_model_behind_the_same_address_does_not_drive_the_robot(change: dict[str, Any]) -> None:
    port = free_port()
    with planner(port, []):
        client = PolicyClient(f"127.0.0.1:{port}", timeout=LONG)
    with planner(port, [], **change), pytest.raises(PolicyError, match=f"another model: {next(iter(change))} changed"):
        client.plan(PlanRequest({"pixels": frame(1)}))
    client.close()


def test_no_call_follows_the_end() -> None:
    port = free_port()
    with planner(port, []):
        client = PolicyClient(f"127.0.0.1:{port}", timeout=LONG)
        client.close()
        with pytest.raises(PolicyUnavailable, match="closed"):
            client.plan(PlanRequest({"pixels": frame(1)}))
