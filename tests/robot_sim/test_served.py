"""The robot through a real server and the real client, over a network that fails."""

import asyncio
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from point_robot import REACH, TASK
from straight_planner import StraightPlanner

from wmplan import cli
from wmplan.errors import UserError
from wmplan.evaluation.instances import generate_instances
from wmplan.robot_sim.config import FaultsConfig, RobotConfig
from wmplan.robot_sim.faults import Fault
from wmplan.robot_sim.run import open_robot, play, run_robot
from wmplan.serving.client import PolicyUnavailable
from wmplan.serving.config import ServerConfig
from wmplan.serving.messages import Shapes
from wmplan.serving.server import PolicyServer

METADATA = {
    "protocol": "wmplan/1",
    "action_horizon": 5,
    "action_low": [-REACH, -REACH],
    "action_high": [REACH, REACH],
    "action_dim": 2,
    "control_rate": 10.0,
    "horizon": 25,
    "image_size": [8, 8],
    "cameras": ["pixels"],
    "proprio_dim": 2,
    "model": "straight",
    "task": None,
}


@pytest.fixture
def serve():
    """Starts servers of StraightPlanners; gives the url and the planners that were made."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    servers = []

    def start(**changes):
        planners = []

        def make_session():
            planners.append(StraightPlanner(steps=6))
            return planners[-1]

        def plan_batch(sessions, requests):
            return [session.plan(request) for session, request in zip(sessions, requests, strict=True)]

        shapes = Shapes(("pixels",), (8, 8), 2, changes.get("action_dim", 2), 25)
        server = PolicyServer(METADATA | changes, shapes, make_session, plan_batch, ServerConfig(port=0))
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(30)
        servers.append(server)
        return f"ws://127.0.0.1:{server.port}", planners

    yield start
    for server in servers:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)


def test_a_served_planner_drives_the_robot(serve, tmp_path):
    url, planners = serve()
    result = run_robot(RobotConfig(task=TASK, out=tmp_path, url=url, episodes=2, seconds=1.0, films=0))
    assert result["planner"] == f"straight at {url}" and result["out_of_limits"] == 0
    assert [record["ticks"] for record in result["per_episode"]] == [10, 10]
    assert len(planners) == 1 and planners[0].resets == 2 and planners[0].plans > 2


@pytest.mark.parametrize("kind", ["server_killed", "network_lost", "network_slow", "planner_slow"])
def test_faults_of_the_network_reach_the_client_and_end(serve, kind):
    url, planners = serve()
    faults = [Fault(kind, 0.3, 0.9)]
    config = RobotConfig(task=TASK, out="unused", url=url, seconds=2.0, timeout=0.4)
    env, link = open_robot(replace(config, faults=FaultsConfig(tuple(faults))))
    (instance,) = generate_instances(env, config.protocol, 1, 0)
    played, _ = play(config, env, link, instance, faults)
    assert played.out_of_limits == 0 and set(played.modes) <= {"FOLLOW", "HOLD", "SAFE_STOP"}
    client = link.controller.backend
    if kind in ("server_killed", "network_lost"):
        assert link.controller.statistics.as_dict()["errors"]["PolicyUnavailable"] > 0
        again(client.statistics)  # there is a session again
        assert client.connections >= 2 and len(planners) == client.connections
        np.testing.assert_allclose(planners[-1].goal, env.goal, atol=1e-3)  # which was told the goal
    link.close()


def again(call):
    """Call until there is an answer: between attempts to connect, the client pauses for longer than a call may take."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return call()
        except PolicyUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_what_does_not_fit_the_robot_is_named(serve):
    for changes, says in (
        ({"action_dim": 3, "action_low": [-1] * 3, "action_high": [1] * 3}, "actions of 3 numbers, the task's have 2"),
        ({"control_rate": 5.0}, "5 robot steps a second, the task 10"),
    ):
        url, _ = serve(**changes)
        with pytest.raises(UserError, match=says):
            open_robot(RobotConfig(task=TASK, out="unused", url=url))


def test_where_there_is_no_server_it_says_how_to_start_one(capsys):
    assert cli.main(["robot", "url=ws://127.0.0.1:1"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "start a server with: wmplan serve" in said
