"""A stranger's package (tests/plugin), installed and not imported by anyone, in every command."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import wmplan
from wmplan.data import open_data
from wmplan.serving.client import PolicyClient

HERE = Path(__file__).parent
Run = Callable[..., str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package is installed, beside what the commands write."""
    folder = tmp_path_factory.mktemp("stranger")
    source = shutil.copytree(HERE / "plugin", folder / "source")  # building would leave files in the checkout
    install = ["install", "-q", "--no-deps", "--no-build-isolation", "--target", str(folder / "installed"), str(source)]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def environ(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(folder / "installed"), "WMPLAN_PLUGINS": ""}


@pytest.fixture(scope="module")
def run(folder: Path, environ: dict[str, str]) -> Run:
    """Run a command of wmplan's, and give what it prints."""

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "wmplan.cli", *arguments]
        done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def data(run: Run, folder: Path) -> Path:
    """Episodes of the stranger's task, by two processes, and in his format."""
    run(
        "collect",
        "task=puck",
        "episodes=8",
        "steps=60",
        "image_size=[32,32]",
        "episodes_per_shard=4",
        "processes=2",
        "out=data",
    )
    store = open_data(str(folder / "data"))
    assert len(store) == 8 and store.meta.task == "stranger.puck:stranger/Puck-v0"
    (folder / "npz").mkdir()
    for index in range(len(store)):
        columns = ["pixels", "action", "proprio", "state"]
        np.savez(folder / "npz" / f"{index}.npz", **store.episode(index, columns))
    return folder / "npz"


@pytest.fixture(scope="module")
def model(run: Run, data: Path, folder: Path) -> Path:
    """A model with the stranger's encoder, trained on data that his reader reads."""
    stages = [f"{stage}.{key}" for stage in ("joint", "dynamics", "critic") for key in ("steps=2", "batch_size=4")]
    small = ["latent_dim=6", "robot_dim=0", "decoder.steps=0", "predictor=mlp", "joint_predictor=null", "threads=1"]
    chosen = ["task=puck", "encoder=patch_means", "encoder.cells=2", "control_rate=10"]
    run("train", f"data={data}", "out=run", *chosen, *small, *stages, "predictor_options.width=16")
    return folder / "run" / "model"


def test_what_is_there_is_listed_and_explained(run: Run) -> None:
    assert re.search(r"^puck +\(stranger.puck:stranger/Puck-v0", run("tasks"), re.MULTILINE)
    text = run("eval", "planner=shooting", "objective=largest_difference", "model=null", "--help")
    assert "task=pusht" in text and "puck" in text
    assert re.search(r"^  planner.spread=0.5 +deviation of the candidates", text, re.MULTILINE)
    assert re.search(r"^  objective.largest_difference.power=1.0\n? +of the difference", text, re.MULTILINE)
    text = run("train", "encoder=patch_means", "task=puck", "--help")
    assert "  encoder.cells=4 " in text and "regions={near the middle}" in text and "planner.name=shooting" in text


def test_a_plugin_that_is_not_installed_is_named_on_the_command_line(tmp_path: Path) -> None:
    shutil.copytree(HERE / "plugin" / "stranger", tmp_path / "stranger")
    command = [sys.executable, "-P", "-m", "wmplan.cli", "check-env", "puck", "plugins=stranger", "steps=3"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([*command[:-2], "plugins=strange"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert (
        done.stderr
        == "wmplan check-env: plug-in strange cannot be loaded: ModuleNotFoundError: No module named 'strange'\n"
    )


def test_the_model_is_evaluated_and_diagnosed(run: Run, model: Path, folder: Path) -> None:
    card = json.loads((model / "config.json").read_text())
    assert "patch_means" in json.dumps(card)
    few = ["protocol.offset=8", "protocol.budget=6", "protocol.episode_steps=30", "schedule.min_horizon=1"]
    chosen = ["planner.spread=0.4", "objective=largest_difference"]
    run("eval", f"model={model}", "task=puck", *chosen, *few, "episodes=2", "workers=2", "out=results")
    result = json.loads((folder / "results" / "results.json").read_text())
    assert result["planner"]["name"] == "shooting" and result["planner"]["spread"] == 0.4
    assert set(result["rows"]["planner"]["rules"]) >= {"there"}
    effort = ["effort.candidates=2", "effort.drawn=2", "effort.samples=2", "effort.iterations=1"]
    run("diagnose", "results", "max_instances=1", "successes=1", "probe_episodes=10", "oracle=never", *effort)
    assert (folder / "results" / "diagnosis.json").is_file()


def test_the_model_is_served(model: Path, folder: Path, environ: dict[str, str]) -> None:
    command = [sys.executable, "-m", "wmplan.cli", "serve", f"model={model}", "port=0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder, env=environ)
    try:
        assert server.stdout is not None
        said = server.stdout.readline()
        url = re.search(r"ws://\S+", said)
        assert url, said
        frame = np.zeros((32, 32, 3), np.uint8)
        with PolicyClient(url[0]) as client:
            client.reset(seed=0)
            client.set_goal(frame)
            reply = client.plan(wmplan.control.PlanRequest({"pixels": frame, "proprio": np.zeros(2, np.float32)}))
        assert np.abs(reply.actions).max() <= 0.2 + 1e-6
    finally:
        server.terminate()
        server.wait(60)
