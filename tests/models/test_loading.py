"""Models by name and path."""

from __future__ import annotations

from pathlib import Path

import pytest

import wmplan
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
