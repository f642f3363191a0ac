"""`wmplan serve` with a real, tiny model: in this process, as a process of its own, and driven by openpi's client."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from serving import running
from websockets.exceptions import ConnectionClosedOK
from websockets.sync.client import connect

from wmplan import cli
from wmplan.control.backend import PlanRequest
from wmplan.control.session import PlanningSession
from wmplan.models import JEPA, JEPAConfig, ModelSpec, save
from wmplan.serving import ServerConfig
from wmplan.serving.client import PolicyClient, PolicyUnavailable
from wmplan.serving.serve import make_server
from wmplan.serving.wire import pack, unpack

LONG = 120.0
PLANNER = {"name": "icem", "num_samples": 16, "num_iterations": 2, "num_elites": 4, "horizon": 3}
OPENPI = os.environ.get("WMPLAN_OPENPI_PYTHON")


def tiny_model() -> JEPA:
    spec = ModelSpec(
        image_size=(16, 16),
        history=2,
        action_block=2,
        action_low=(-1.0, -2.0),
        action_high=(1.0, 2.0),
        action_mean=(0.0, 0.0),
        action_std=(0.5, 1.0),
        latent_shape=(8,),
        proprio_dim=2,
        proprio_mean=(0.0, 0.0),
        proprio_std=(1.0, 1.0),
    )
    options = {"channels": [4, 4], "keypoints": 5, "hidden": 8}
    config = JEPAConfig(latent_dim=6, encoder_options=options, predictor_options={"width": 16, "depth": 2})
    model = JEPA(config, spec)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def frame(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)


def request(robot: int, step: int) -> PlanRequest:
    """What a robot sees and did at its step-th plan; how much is committed differs from robot to robot."""
    rng = np.random.default_rng([robot, step])
    return PlanRequest(
        {"pixels": frame(100 * robot + step), "proprio": rng.normal(size=2).astype(np.float32)},
        executed=rng.uniform(-1, 1, (2, 2)).astype(np.float32),
        committed=rng.uniform(-1, 1, (robot % 3, 2)).astype(np.float32),
        epoch=step,
    )


def test_eight_sessions_in_one_batch_get_what_each_would_get_alone() -> None:
    model, steps, robots = tiny_model(), 6, 8
    server = make_server(model, ServerConfig(port=0), PLANNER)
    barrier = Barrier(robots)

    def drive(robot: int) -> list[np.ndarray]:
        with PolicyClient(f"127.0.0.1:{server.port}", timeout=LONG, connect_timeout=LONG) as client:
            client.set_goal({"pixels": frame(robot)})
            client.reset(robot)
            found = []
            for step in range(steps):
                barrier.wait(LONG)
                found.append(client.plan(request(robot, step)).actions)
            return found

    with running(server), ThreadPoolExecutor(robots) as pool:
        together = list(pool.map(drive, range(robots)))
        assert server.planning.planned == robots * steps
        assert server.planning.batches < robots * steps / 2
    for robot in range(robots):
        session = PlanningSession(model, PLANNER, seed=robot)
        session.set_goal({"pixels": frame(robot)})
        for step in range(steps):
            alone = session.plan(request(robot, step)).actions
            assert together[robot][step].shape == (6 - robot % 3, 2)
            np.testing.assert_allclose(together[robot][step], alone, atol=1e-4)
    assert not np.allclose(together[0][0][:4], together[3][0][:4])


def test_metadata_tells_what_the_robot_needs() -> None:
    model = tiny_model()
    model.card = {"name": "tiny", "task": "a task"}
    server = make_server(model, ServerConfig(port=0), PLANNER, schedule={"replan_every": 3})
    with running(server), PolicyClient(f"127.0.0.1:{server.port}", timeout=LONG, connect_timeout=LONG) as client:
        assert client.metadata == {
            "protocol": "wmplan/1",
            "action_horizon": 3,
            "action_low": [-1.0, -2.0],
            "action_high": [1.0, 2.0],
            "action_dim": 2,
            "action_kinds": [],
            "action_measured": [],
            "control_rate": 10.0,
            "horizon": 6,
            "image_size": [16, 16],
            "cameras": ["pixels"],
            "proprio_dim": 2,
            "model": "tiny",
            "task": "a task",
        }


def test_a_goal_from_a_file_is_the_goal_that_is_sent(tmp_path: Path) -> None:
    model = tiny_model()
    Image.fromarray(frame(5)).save(tmp_path / "goal.png")
    replies = []
    for goal in (tmp_path / "goal.png", None):
        server = make_server(model, ServerConfig(port=0), PLANNER, goal=goal)
        with running(server), PolicyClient(f"127.0.0.1:{server.port}", timeout=LONG, connect_timeout=LONG) as client:
            if goal is None:
                client.set_goal(frame(5))
            replies.append(client.plan(request(0, 0)).actions)
    np.testing.assert_array_equal(*replies)


# ------------------------------------------------------------------ as a process


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `wmplan serve` with a tiny model and waits until it serves."""
    save(tiny_model(), tmp_path / "model", {"name": "tiny"})
    Image.fromarray(frame(5)).save(tmp_path / "goal.png")
    processes = []

    def run(port: int, **settings: Any) -> subprocess.Popen[str]:
        given = {"planner.num_samples": 16, "planner.num_iterations": 2, "planner.num_elites": 4, "planner.horizon": 3}
        given |= {"planner": "icem", "model": tmp_path / "model", "goal": tmp_path / "goal.png", **settings}
        arguments = [f"{key.replace('__', '.')}={value}" for key, value in given.items()]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "wmplan.cli", "serve", f"port={port}", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        processes.append(process)
        assert process.stdout is not None
        banner = process.stdout.readline()
        assert banner.startswith(f"serving tiny at ws://127.0.0.1:{port} (no token), planning on "), (
            banner or process.communicate(timeout=LONG)[1]
        )
        return process

    yield run
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=LONG)


def test_sigterm_lets_the_reply_under_way_out_and_ends_with_status_0(start: Callable[..., Any]) -> None:
    port = free_port()
    process = start(port, **{"planner.num_samples": 20_000, "planner.num_iterations": 5, "bounds.drain_seconds": 100})
    with connect(f"ws://127.0.0.1:{port}", compression=None, proxy=None) as robot:
        unpack(bytes(robot.recv(LONG)))  # type: ignore[arg-type]
        robot.send(pack({"pixels": frame(1), "proprio": np.zeros(2, np.float32)}))
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        reply = robot.recv(LONG)
        assert isinstance(reply, bytes) and unpack(reply)["actions"].shape == (6, 2)
        with pytest.raises(ConnectionClosedOK) as closed:
            robot.recv(LONG)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
    assert process.wait(LONG) == 0
    assert "Traceback" not in process.stderr.read()


def test_a_client_goes_on_after_the_server_was_killed_and_restarted(start: Callable[..., Any]) -> None:
    port = free_port()
    process = start(port)
    with PolicyClient(f"127.0.0.1:{port}", timeout=1.0, connect_timeout=LONG) as client:
        client.timeout = LONG
        client.set_goal(frame(9))
        client.reset(4)
        first = client.plan(request(0, 0)).actions
        process.kill()
        process.wait(LONG)
        client.timeout = 0.3
        for _ in range(2):
            with pytest.raises(PolicyUnavailable):
                client.plan(request(0, 1))
        start(port)
        client.timeout = LONG
        again = client.plan(request(0, 0)).actions
        np.testing.assert_array_equal(again, first)  # goal and seed are those of before
        assert client.connections == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["host=0.0.0.0"], "host is 0.0.0.0, which other machines reach, and there is no token: set WMPLAN_TOKEN"),
        (["port=70000"], "port must be from 0 to 65535, got 70000"),
        (["bounds.max_sessions=0"], "bounds.max_sessions must be at least 1, got 0"),
        (["bounds.max_session=1"], "did you mean 'bounds.max_sessions'?"),
        (["token_file=no/such/file"], "no/such/file: No such file"),
        (["certificate=no/such/file"], "certificate: there is no file no/such/file"),
        (["model=no/such/model"], "no/such/model"),
    ],
)
def test_mistakes_get_one_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WMPLAN_TOKEN", raising=False)
    assert cli.main(["serve", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and says in err and err.count("\n") == 1 and err.startswith("wmplan serve: "), err


def test_a_port_that_is_taken_gets_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    save(tiny_model(), tmp_path / "model", {"name": "tiny"})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert cli.main(["serve", f"model={tmp_path / 'model'}", f"port={port}"]) == 2
    assert "address already in use" in capsys.readouterr().err


# ------------------------------------------------------------------ openpi's own client

OPENPI_PROGRAM = """
import json, sys
import numpy as np
from openpi_client.action_chunk_broker import ActionChunkBroker
from openpi_client.websocket_client_policy import WebsocketClientPolicy

policy = WebsocketClientPolicy("127.0.0.1", int(sys.argv[1]), api_key=None)
metadata = policy.get_server_metadata()
broker = ActionChunkBroker(policy, metadata["action_horizon"])
frames = np.load(sys.argv[2])
goal, steps = frames[0], []
for frame in frames[1:]:
    steps.append(broker.infer({"pixels": frame, "proprio": np.zeros(2, np.float32), "goal": goal, "prompt": "push"}))
try:
    policy.infer({"pixels": frames[1][:4]})
    error = None
except RuntimeError as raised:
    error = str(raised)
print(json.dumps({
    "metadata": metadata,
    "actions": [step["actions"].tolist() for step in steps],
    "timing": steps[0]["server_timing"]["infer_ms"],
    "error": error,
}))
"""


def test_openpi_client_unmodified_drives_it(start: Callable[..., Any], tmp_path: Path) -> None:
    if not OPENPI:
        pytest.skip("WMPLAN_OPENPI_PYTHON does not name a Python that has openpi-client 0.1.2")
    frames = np.stack([frame(seed) for seed in range(7)])  # the goal, then what the camera sees at six robot steps
    np.save(tmp_path / "frames.npy", frames)
    port = free_port()
    start(port)
    done = subprocess.run(
        [OPENPI, "-c", OPENPI_PROGRAM, str(port), str(tmp_path / "frames.npy")],
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["metadata"]["protocol"] == "wmplan/1" and told["metadata"]["action_horizon"] == 2
    assert "pixels must be a uint8 array of shape (16, 16, 3), got a uint8 array of shape (4, 16, 3)" in told["error"]
    assert told["timing"] > 0
    with PolicyClient(f"127.0.0.1:{port}", timeout=LONG) as client:  # the same seed: the server's
        client.set_goal(frames[0])
        expected: list[np.ndarray] = []
        for seen in frames[1::2]:  # openpi's broker asks at every second robot step, and executes two actions
            executed = np.stack(expected[-2:]) if expected else None
            observed = {"pixels": seen, "proprio": np.zeros(2, np.float32)}
            expected += list(client.plan(PlanRequest(observed, executed=executed)).actions[:2])
    np.testing.assert_array_equal(np.float32(told["actions"]), expected)
