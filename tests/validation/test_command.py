"""The command on a trained model of the package's own, with its report."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stripe_world import StripeWorld

from wmplan import cli
from wmplan.errors import UserError
from wmplan.models import JEPA, JEPAConfig, save
from wmplan.report.validation_page import write_validation_report

SMALL = {"channels": [4, 4], "keypoints": 5, "hidden": 8, "downsample": 1}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small untrained JEPA for the stripes, with a decoder and robot state that the data does not have."""
    spec = replace(
        StripeWorld().spec,
        image_size=(16, 16),
        history=2,
        latent_shape=(8,),
        proprio_dim=2,
        proprio_mean=(0.0, 0.0),
        proprio_std=(1.0, 1.0),
    )
    config = JEPAConfig(latent_dim=6, encoder_options=SMALL, predictor_options={"width": 16, "depth": 2}, decoder=True)
    card = {
        "name": "stripes",
        "planning": {"planner": {"name": "cem", "num_samples": 8, "num_elites": 2, "horizon": 2}},
    }
    save(JEPA(config, spec), tmp_path / "model", card)
    return tmp_path / "model"


def test_it_writes_a_result_a_report_and_films(
    model: Path, recorded: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = recorded(), tmp_path / "out"
    arguments = ["validate", f"model={model}", f"data=npz_episodes:{data}", f"out={out}"]
    assert cli.main([*arguments, "windows=20", "compared=4", "candidates=5", "planner.num_iterations=2"]) == 0
    found = json.loads((out / "validation.json").read_text())
    assert found["schema"] == 1
    assert found["model"]["name"] == "stripes"
    assert len(found["model"]["sha256"]) == 64
    assert found["planning"]["planner"]["num_iterations"] == 2
    assert found["steps"] == 4
    assert found["surprise"]["frames"] == 6 * 19  # of 21 frames two are the first context
    printed = capsys.readouterr().out
    assert found["verdict"] in printed

    page = (out / "report.html").read_text()
    assert found["verdict"].split(":")[0] in page.replace("&#x27;", "'")
    films = re.findall(r'src="data:video/mp4;base64,([^"]+)"', page)
    assert len(films) == 4  # of the first episodes
    assert base64.b64decode(films[0])[4:8] == b"ftyp"
    assert not re.search(r'(src|href)="(?!data:|#)', page)  # it asks for nothing outside itself
    with np.load(next((out / "imagined").glob("*.npz"))) as arrays:
        assert arrays["real"].shape == arrays["imagined"].shape == (5, 16, 16, 3)


def test_a_folder_without_a_validation_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run wmplan validate first"):
        write_validation_report(tmp_path)


def test_another_commands_folder_is_left_alone(
    model: Path, recorded: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.html").write_text("of an evaluation")
    arguments = [f"model={model}", f"data=npz_episodes:{recorded()}", f"out={tmp_path}"]
    assert cli.main(["validate", *arguments]) == 2
    assert "holds report.html" in capsys.readouterr().err
