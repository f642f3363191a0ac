"""The recipes of the README and of docs/, run as printed, with the shipped model and the simulated table as the robot.

Only the port is put in: the README's is 8000. What a recipe takes from its reader (a camera, a robot, a goal) is
`Robot` below. openpi's recipe runs in a Python that has openpi-client and not this package, named by
WMPLAN_OPENPI_PYTHON, and wmplan-client's in one that has that alone; .ci/run makes both.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from PIL import Image

from wmplan.planning import make_objective
from wmplan.registry import PLANNERS

ROOT = Path(__file__).parents[1]
READMES = (ROOT / "README.md", *sorted((ROOT / "clients").glob("*/README.md")))
PAGES = [path.read_text(encoding="utf-8") for path in (*READMES, *sorted((ROOT / "docs").glob("*.md")))]
RECIPES = {text for page in PAGES for text in re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)}
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
OPENPI = os.environ.get("WMPLAN_OPENPI_PYTHON")
SHOWN = {text for text in RECIPES if re.search("models/jepa_wm_pusht|StableWorldModelCost|play_in_world|--8<--", text)}
"""Recipes that need files or packages of others, tested in tests/models/released and tests/suite, and files shown
whole, tested below and in test_plugin."""
STEPS = 12  # robot steps that are taken before the reader's robot stops


def recipe(marker: str) -> str:
    """The one recipe that holds the marker."""
    (found,) = [text for text in RECIPES if marker in text]
    return found


class Robot:
    """A Push-T table, with the names that the recipes use for what is the reader's."""

    def __init__(self) -> None:
        self.env: Any = gymnasium.make("wmplan.envs:wmplan/PushT-v0").unwrapped
        self.seen, _ = self.env.reset(seed=3)
        self.goal = self.env.goal_observation()["pixels"]
        self.taken: list[np.ndarray] = []

    def send(self, action: np.ndarray) -> None:
        assert self.env.action_space.contains(np.asarray(action, np.float32))
        self.taken.append(action)
        self.seen = self.env.step(action)[0]

    def state(self) -> np.ndarray:
        return self.seen["proprio"]

    def camera(self) -> np.ndarray:
        return self.seen["pixels"]

    def newest(self) -> tuple[np.ndarray, float]:
        return self.camera(), time.monotonic()

    def done(self) -> bool:
        return len(self.taken) >= STEPS


@pytest.fixture
def robot() -> Iterator[Robot]:
    robot = Robot()
    yield robot
    robot.env.close()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where `wmplan serve model=pusht` listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "wmplan.cli", "serve", "model=pusht", f"port={port}"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path_factory.mktemp("served"))
    assert server.stdout is not None and server.stdout.readline().startswith("serving pusht at ")
    yield port
    server.terminate()
    assert server.wait(60) == 0


def run(text: str, port: int | None = None, **names: Any) -> dict[str, Any]:
    """Run a recipe in a namespace that holds these names, and give the namespace."""
    exec(compile(text.replace(":8000", f":{port}"), "recipe", "exec"), names)
    return names


def test_planning_in_a_plain_loop(robot: Robot) -> None:
    names = run(recipe("make_controller(model)"), goal_image=robot.goal, frame=robot.camera(), pusher_xy=robot.state())
    robot.send(names["action"])
    for _ in range(STEPS):
        robot.send(names["controller"].act({"pixels": robot.camera(), "proprio": robot.state()}))
    assert np.ptp(robot.taken, axis=0).max() > 0.01  # it goes somewhere


def test_goals_of_every_kind(robot: Robot) -> None:
    mask = np.zeros(robot.goal.shape[:2], bool)
    mask[10:50, 10:50] = True
    seen = {"goal_frame": robot.goal, "other_frame": robot.camera(), "frame": robot.camera(), "block_mask": mask}
    names = run(recipe("RobotStateGoal(pusher_xy)"), **seen, pusher_xy=robot.state())
    assert len(names["controllers"]) == 6 and np.isfinite(names["action"]).all()


def test_planning_with_a_formula(capsys: pytest.CaptureFixture[str]) -> None:
    names = run(recipe("def cost(candidates"))
    assert capsys.readouterr().out.startswith("torch.Size([2, 20, 2])")
    ends = names["plan"].actions.sum(1)
    np.testing.assert_allclose(ends, names["goal"], atol=0.05)


def test_the_control_loop_of_a_robot(robot: Robot, capsys: pytest.CaptureFixture[str]) -> None:
    names = run(recipe("RealtimeController.of("), goal_image=robot.goal, camera=robot, robot=robot, done=robot.done)
    changes = np.diff([np.zeros(2), *robot.taken], axis=0)
    assert len(robot.taken) == STEPS and np.abs(changes).max() <= 0.1 + 1e-6  # the recipe's max_change
    assert names["controller"].statistics.as_dict()["plan_seconds"]["count"] > 1
    assert "Hz" in capsys.readouterr().out


def test_the_control_loop_with_a_served_planner(robot: Robot, port: int) -> None:
    names = run(recipe("controller = RealtimeController(client"), port)
    controller = names["controller"]
    with controller:
        controller.reset({"pixels": robot.goal}, seed=0)
        due = time.monotonic()
        while not robot.done():
            robot.send(controller.act({"pixels": robot.camera(), "proprio": robot.state()}, time.monotonic()))
            due += 0.1
            time.sleep(max(0.0, due - time.monotonic()))
    assert controller.statistics.as_dict()["plan_seconds"]["count"] >= 1


def test_our_client_in_a_plain_loop_and_a_goal_from_a_picture(
    robot: Robot, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = run(
        recipe("print(client.metadata)"),
        port,
        goal_frame=robot.goal,
        camera=robot.camera,
        pusher_xy=robot.state,
        robot_step=robot.send,
    )
    assert len(robot.taken) == 10 * names["client"].metadata["action_horizon"]
    monkeypatch.chdir(tmp_path)
    height, width = robot.goal.shape[:2]
    Image.fromarray(robot.goal).resize((8 * width, 8 * height), Image.Resampling.NEAREST).save("goal.png")
    request = names["PlanRequest"]({"pixels": robot.camera(), "proprio": robot.state()})
    with names["PolicyClient"](f"ws://127.0.0.1:{port}") as client:
        run(recipe('read_goal_image("goal.png"'), client=client)
        client.reset(0)
        from_picture = client.plan(request).actions
        client.set_goal(robot.goal)
        client.reset(0)
        np.testing.assert_array_equal(client.plan(request).actions, from_picture)


def test_the_readme_of_the_client(robot: Robot, port: int) -> None:
    text = recipe("planner.local").replace("planner.local", "127.0.0.1").replace("timeout=2.0", "timeout=60.0")
    names = run(text, port, goal_frame=robot.goal, frame=robot.camera(), pusher_xy=robot.state())
    actions = names["reply"].actions
    assert actions.dtype == np.float32 and actions.shape[1] == 2 and np.isfinite(actions).all()


def test_a_planner_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PLANNERS, "_entries", dict(PLANNERS.items()))  # the recipe's is forgotten afterwards
    plan = run(recipe("class RandomSearch"))["plan"]
    assert float(plan.cost) < 0.1 and plan.actions.shape == (1, 2, 2)


def test_an_objective_of_ones_own(robot: Robot) -> None:
    names = run(recipe("class NearestStep"), goal_image=robot.goal, frame=robot.camera(), pusher_xy=robot.state())
    robot.send(names["action"])
    assert np.isfinite(float(names["controller"].last_plan.cost))


def test_a_planning_core_of_ones_own(robot: Robot) -> None:
    names = run(recipe("class Steady"), goal_image=robot.goal, frame=robot.camera(), pusher_xy=robot.state())
    assert names["action"].tolist() == [0.0, 0.0] and type(names["controller"].core).__name__ == "Steady"


def test_two_evaluations_are_compared(tmp_path: Path) -> None:
    names = run(recipe("compare(first, second)"), folder=tmp_path)
    assert names["first"]["instances_sha256"] == names["second"]["instances_sha256"]
    assert (tmp_path / "few" / "results.json").exists()


def test_a_model_is_judged_without_the_robot(tmp_path: Path) -> None:
    judged = run(recipe("from wmplan.validation import"), folder=tmp_path)["judged"]
    assert judged["data"]["held_out"]
    assert judged["score"] > 60
    assert (tmp_path / "validation" / "validation.json").exists()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_is_on_the_page_of_examples(path: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, path], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert f'"{path.name}"' in (ROOT / "docs" / "examples.md").read_text()


def test_a_data_format_of_ones_own(tmp_path: Path) -> None:
    run(recipe("class NpzFolder(Reader)"))
    from wmplan.data import open_data
    from wmplan.registry import READERS

    actions = np.arange(8.0).reshape(4, 2)
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", pixels=np.zeros((4, 8, 8, 3), np.uint8), action=actions)
    try:
        data = open_data(f"npz:{tmp_path}")
        assert len(data) == 2 and data.meta.action_high == (6.0, 7.0)
        np.testing.assert_array_equal(data.episode(1, ["action"], 1, 3)["action"], actions[1:3])
    finally:
        READERS._entries.pop("npz")  # type: ignore[attr-defined]


def test_an_encoder_and_an_objective_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from wmplan.registry import ENCODERS, OBJECTIVES

    for registry in (ENCODERS, OBJECTIVES):
        monkeypatch.setattr(registry, "_entries", dict(iter(registry.items())))
    frames = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    assert run(recipe("class Thumbnail"))["encoder"](frames).shape == (2, 32)
    controller = run(recipe("def farthest_number"))["controller"]
    predicted, goal = torch.zeros(1, 2, 3, 4), torch.tensor([[0.0, 3.0, -1.0, 0.0]])
    chosen = make_objective({"farthest_number": {"power": 2.0}}, controller.model)
    assert chosen(predicted, goal, torch.zeros(1, 2, 3, 2)).tolist() == [[9.0, 9.0]]


def test_a_predictor_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from wmplan.registry import PREDICTORS

    monkeypatch.setattr(PREDICTORS, "_entries", dict(PREDICTORS.items()))
    names = run(recipe("class Coasting"))
    assert names["predicted"].shape == (1, 8, 5, 32)
    context = torch.tensor([[0.0, 1.0, 2.0]]).unsqueeze(-1).expand(1, 3, 32)
    still = names["predictor"].rollout(context, names["past"], torch.zeros(1, 1, 2, 2))
    np.testing.assert_allclose(still[0, 0, :, 0].detach(), [2.5, 2.5 + 0.5 * (2.5 - 1) / 2])


SMALL = {
    "data": "",
    "check-env": "steps=5",
    "collect": "episodes=8 steps=75 processes=1",
    "train": "joint.steps=2 joint.batch_size=8 dynamics.steps=2 dynamics.batch_size=8 critic.steps=0 decoder.steps=0",
    "pretrain": "steps=2 batch_size=8 vit.width=24 vit.depth=1 vit.predictor_width=24 vit.predictor_depth=1",
    "validate": "windows=6 compared=2 candidates=4",
    "eval": "episodes=1 workers=1 planner=cem planner.num_samples=8 planner.num_iterations=1 planner.num_elites=2",
}
"""What makes the commands of a page small; the others are not run, having tests of their own."""


def walk(
    folder: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], within: str, page: str = "your-environment"
) -> None:
    """Run every command of a page that `within` is found in, in small, with the reader's files beside it."""
    import shlex

    from wmplan.cli import main

    lines = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8").splitlines()
    commands = [line.split("#")[0].strip() for line in lines if re.search(rf"^    wmplan .*({within})", line)]
    assert len(commands) >= 3
    for name, text in files.items():
        (folder / name).write_text(text)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WMPLAN_PLUGINS", "")  # plugins= sets it; the test puts it back
    monkeypatch.syspath_prepend(str(folder))
    for command in commands:
        _, name, *settings = shlex.split(command)
        small = "episodes=1 steps=3 processes=1" if "goals=" in command else SMALL.get(name)
        if small is not None:
            assert main([name, *settings, *small.split()]) == 0, command


def test_from_a_gymnasium_id_to_an_evaluated_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    walk(tmp_path, monkeypatch, {"reacher.py": recipe("def near(state, goal)")}, "eacher")
    result = json.loads((tmp_path / "results" / "reacher" / "results.json").read_text())
    assert result["per_episode"][-1]["row"] == "replay" and result["per_episode"][-1]["success"]
    assert "FAULTY" not in capsys.readouterr().out and (tmp_path / "data" / "play" / "meta.json").exists()


@pytest.mark.skipif(find_spec("pygame") is None, reason="Gymnasium draws Pendulum with pygame")
def test_pendulum_to_an_evaluated_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walk(tmp_path, monkeypatch, {"pendulum.py": recipe("def there(state, goal)")}, "endulum")


def test_from_an_mjcf_to_an_evaluated_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wmplan.registry import TASKS

    monkeypatch.setattr(TASKS, "_entries", dict(TASKS.items()))
    monkeypatch.delitem(gymnasium.registry, "mine/TwoJointArm-v0", raising=False)
    examples = [ROOT / "docs" / "examples" / f"two_joint_arm.{kind}" for kind in ("py", "xml")]
    files = {path.name: path.read_text() for path in examples}
    walk(tmp_path, monkeypatch, files, "two_joint_arm")
    result = json.loads((tmp_path / "results" / "arm" / "results.json").read_text())
    assert result["per_episode"][-1]["row"] == "replay" and result["per_episode"][-1]["success"]
    assert 0 <= json.loads((tmp_path / "validation" / "validation.json").read_text())["score"] <= 100
    assert json.loads((tmp_path / "runs" / "arm" / "model" / "config.json").read_text())["card"]["planning"]["planner"]


@pytest.mark.skipif(find_spec("av") is None, reason="videos need av")
def test_from_a_lerobot_folder_to_a_validated_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wmplan.data.collection import CollectConfig, collect
    from wmplan.data.conversion import convert_data

    source, recordings = tmp_path / "source", tmp_path / "recordings"
    collect(CollectConfig("wmplan.envs:wmplan/PushT-v0", str(source), episodes=8, steps=75, seed=3, processes=1))
    # As the page calls it.
    monkeypatch.setattr("wmplan.data.lerobot_writer.feature", lambda camera: "observation.images.top")
    convert_data(str(source), str(recordings), format="lerobot", video="images")
    walk(tmp_path, monkeypatch, {}, "recordings|data/mine", "your-data")
    assert json.loads((tmp_path / "validation" / "validation.json").read_text())["score"] >= 0


def test_from_frames_to_a_pretrained_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walk(tmp_path, monkeypatch, {}, "data/pusht", "pretraining")
    names = run(recipe("load_pretrained"), folder=tmp_path)
    assert names["tokens"].shape == (2, 1, 8, 8, 24)


def test_every_recipe_is_run_by_a_test_here() -> None:
    """A recipe that no test names is one that may be wrong."""
    text = Path(__file__).read_text()
    markers = re.findall(r'recipe\(\s*["\'](.*?)["\']\s*\)', text)
    assert not [one for one in RECIPES - SHOWN if not any(marker in one for marker in markers)]


RECORDED_ROBOT = """
import json, sys
import numpy as np

recording = np.load(sys.argv[1])
goal_frame, taken = recording["goal"], []
camera = lambda: recording["pixels"][len(taken)]
pusher_xy = lambda: recording["proprio"][len(taken)]

def robot_step(action):
    taken.append(np.asarray(action).tolist())
    if len(taken) == len(recording["pixels"]):
        print(json.dumps(taken))
        sys.exit()
"""


def record(robot: Robot, path: Path) -> None:
    """Save a goal and what a robot's sensors told over STEPS steps, for a Python that has no simulator."""
    seen = []
    for _ in range(STEPS):
        seen.append(robot.seen)
        robot.send(np.array([0.1, -0.05], np.float32))
    np.savez(path, goal=robot.goal, **{key: np.stack([each[key] for each in seen]) for key in seen[0]})


def play(python: str, text: str, recording: Path) -> np.ndarray:
    """The actions (STEPS, 2) of a recipe that drives the recorded robot in another Python."""
    command = [python, "-c", RECORDED_ROBOT + text, str(recording)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=recording.parent)
    assert done.returncode == 0, done.stderr
    taken = np.array(json.loads(done.stdout))
    assert taken.shape == (STEPS, 2) and np.isfinite(taken).all()
    return taken


def test_on_the_robots_computer(robot: Robot, port: int, tmp_path: Path, client_python: str) -> None:
    recording = tmp_path / "recording.npz"
    record(robot, recording)
    text = recipe("client.reset(seed=1)").replace(":8000", f":{port}").replace("range(2)", f"range({STEPS})")
    taken = play(client_python, text, recording)
    bounds = robot.env.action_space
    assert (taken >= bounds.low - 1e-6).all() and (taken <= bounds.high + 1e-6).all()


@pytest.mark.skipif(not OPENPI, reason="WMPLAN_OPENPI_PYTHON names no Python that has openpi-client 0.1.2")
def test_openpis_own_client(robot: Robot, port: int, tmp_path: Path) -> None:
    recording = tmp_path / "recording.npz"
    record(robot, recording)
    assert OPENPI is not None
    play(OPENPI, recipe("WebsocketClientPolicy(").replace("8000", str(port)), recording)
