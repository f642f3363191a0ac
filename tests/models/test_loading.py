"""Models by name and path."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import wmplan
from wmplan.control import planning_settings
from wmplan.models.errors import CheckpointError
from wmplan.models.loading import SHIPPED, resolve, sha256


def test_the_folder_of_a_training_run_stands_for_the_model_in_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    for name in ("joint.checkpoint.pt", "dynamics.checkpoint.pt"):
        (run / name).write_bytes(b"PK")
    (run / "train.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"run holds a training run that has not written .*run/model yet"):
        wmplan.load(run)
    for file in (SHIPPED / "pusht").glob("*.*"):
        (run / "model" / file.name).write_bytes(file.read_bytes())
    assert resolve(run) == run / "model"
    assert sha256(run) == sha256("pusht")
    assert wmplan.load(run).card["name"] == wmplan.load("pusht").card["name"]


def test_a_folder_of_models_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert resolve(tmp_path) == tmp_path


# ------------------------------------------------------------------ what stands in the place of a file


def refusal(path: Path | str) -> str:
    with pytest.raises(CheckpointError) as raised:
        wmplan.load(path, "cpu")
    assert str(raised.value).isprintable()
    return str(raised.value)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a shipped model."""
    return shutil.copytree(SHIPPED / "pusht", tmp_path / "model")


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors"])
@pytest.mark.parametrize(
    ("put", "message"),
    [
        (lambda path: os.mkfifo(path), "must be a file, it is a device, a pipe or a socket"),
        (lambda path: path.symlink_to("/dev/zero"), "must be a file, it is a device, a pipe or a socket"),
        (lambda path: path.mkdir(), "must be a file, it is a folder|holds no model"),
        (lambda path: path.symlink_to(path), "is missing|Too many levels of symbolic links|leads nowhere"),
        (lambda path: path.symlink_to(path.parent / "nowhere"), "is missing|No such file|leads nowhere"),
        (lambda path: path.write_bytes(bytes(2**21)), "must have at most 1048576 bytes|is not a safetensors file"),
        (lambda path: path.write_bytes(b""), "is not valid JSON|is empty|is missing|has not the format"),
    ],
)
def test_what_is_no_plain_file_is_refused_in_one_line(model: Path, name: str, put: Any, message: str) -> None:
    (model / name).unlink()
    put(model / name)
    assert re.search(message, refusal(model)), refusal(model)
    if name == "weights.safetensors":
        assert re.search(message, refusal(model / name))


def test_links_that_lead_nowhere_and_names_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "loop is a symbolic link that leads nowhere" in refusal(tmp_path / "loop")
    assert "there is no model and no folder or file" in refusal("a\0b")
    assert "File name too long" in refusal("x" * 5000)
    for path in ("/dev/zero", "/dev/null"):
        assert "must be a file" in refusal(path)


@pytest.mark.parametrize(
    ("planning", "message"),
    [
        (5, "card.planning must be a mapping, got 5"),
        ({"planer": {}}, "card.planning has no 'planer', did you mean 'planner'"),
        ({"planner": [1]}, r"card.planning.planner must be a mapping, got \[1\]"),
        ({"schedule": 5}, "card.planning.schedule must be a mapping, got 5"),
        ({"planner": {"name": ["cem"]}}, "card.planning.planner.name must be a text"),
    ],
)
def test_planning_in_a_card_that_no_controller_could_read(model: Path, planning: Any, message: str) -> None:
    config = json.loads((model / "config.json").read_text())
    config["card"]["planning"] = planning
    (model / "config.json").write_text(json.dumps(config))
    assert re.search(message, refusal(model))


def test_a_card_may_leave_out_the_planner_or_its_name(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    for planning, expected in (
        (None, {"name": "cem"}),
        ({"planner": None, "schedule": None}, {"name": "cem"}),
        ({"planner": {"num_samples": 8}}, {"name": "cem", "num_samples": 8}),
    ):
        config["card"]["planning"] = planning
        (model / "config.json").write_text(json.dumps(config))
        assert planning_settings(wmplan.load(model, "cpu"))["planner"] == expected
