"""Sizes in a configuration that no file and no machine holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from wmplan.errors import UserError
from wmplan.models import load, save, sizing
from wmplan.models.errors import CheckpointError
from wmplan.models.sizing import build_to_fit, build_to_train, build_within, require_fit, shapes_of


def small() -> nn.Module:
    return nn.Linear(3, 4)


SHAPES = {"weight": (4, 3), "bias": (4,)}


def test_a_model_of_the_right_size_is_built_as_without_a_budget() -> None:
    torch.manual_seed(0)
    expected = small()
    torch.manual_seed(0)
    assert torch.equal(build_to_fit(small, SHAPES, "x").weight, expected.weight)


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.Linear(10**6, 10**6),
        lambda: nn.Linear(10**12, 10**12),
        lambda: nn.Sequential(*(nn.Linear(1, 1) for _ in range(10**9))),
        lambda: nn.Sequential(*(nn.Linear(3000, 3000) for _ in range(10**9))),
        lambda: torch.eye(10**6),
        lambda: torch.arange(10**12),
        lambda: torch.linspace(0, 1, 10**12),
        lambda: torch.zeros(1).repeat(10**12),
        lambda: torch.zeros(2).repeat((10**12, 1)),
        lambda: torch.full((10**6, 10**6), 1.0),
        lambda: torch.ones(10**6, 10**6),
        lambda: nn.Linear(-1, 5),
        lambda: nn.Conv2d(3, 5, -3),
        lambda: 1 // 0,
    ],
)
def test_what_has_no_end_is_refused_before_it_is_made(build: Any) -> None:
    with pytest.raises(CheckpointError, match="no model can be built from the sizes that x states") as raised:
        build_within(build, SHAPES, "x")
    assert str(raised.value).isprintable()


def test_what_the_machine_does_not_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "free_memory", lambda: 2**30)
    with pytest.raises(CheckpointError, match="the model in x takes 4.0 GiB, this machine has 1.0 GiB free"):
        build_within(small, {"weight": (2**15, 2**15)}, "x")


def test_the_differences_are_named() -> None:
    require_fit(SHAPES, shapes_of(small().state_dict()), "x")
    with pytest.raises(
        CheckpointError, match=r"1 missing \(bias\); 1 unexpected \(scale\); 1 of another shape"
    ) as error:
        require_fit({"weight": (3, 4), "scale": (1,)}, SHAPES, "x")
    assert "weight (3, 4) for (4, 3)" in str(error.value)


def test_a_model_to_train_has_the_room_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "free_memory", lambda: 2**30)
    assert isinstance(build_to_train(lambda: nn.Linear(1000, 1000)), nn.Linear)
    for build in (lambda: nn.Linear(2**14, 2**14), lambda: nn.Linear(10**12, 1)):
        with pytest.raises(UserError, match=r"no model of these settings can be trained: .* for the 1.0 GiB that are"):
            build_to_train(build)


# ------------------------------------------------------------------ from a checkpoint


@pytest.fixture
def folder(make_jepa: Any, tmp_path: Path) -> Path:
    save(make_jepa(critic=True, decoder=True), tmp_path / "model", {})
    return tmp_path / "model"


HUGE = 10**12


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("spec.image_size", [10**6, 10**6], "image_size must be two numbers from 1 to 4096"),
        ("spec.image_size", [0, 24], "image_size must be two numbers from 1"),
        ("spec.action_block", 10**9, "action_block must be at most 10000, got 1000000000"),
        ("spec.history", 10**9, "history must be at most 10000"),
        ("spec.latent_shape", [10**9], "latent_shape must have sizes"),
        ("spec.latent_shape", [-8], "latent_shape must have sizes"),
        ("spec.action_low", [-1e400, 0, 0], "is not valid JSON: -Infinity"),
        ("spec.action_std", [0.5, 1.5, 1e-400], "must be above zero"),
        ("spec.cameras", [], "cameras must be at least one name"),
        ("spec.cameras", ["a", "a"], "no name twice"),
        ("spec.control_rate", -1, "control_rate"),
        ("architecture.latent_dim", HUGE, "latent_shape"),
        ("architecture.proprio_width", HUGE, "no model can be built from the sizes"),
        ("architecture.encoder_options.channels", [HUGE], "no model can be built from the sizes"),
        ("architecture.encoder_options.channels", [4] * 10_000, "too many layers for"),
        ("architecture.encoder_options.residual_blocks", 10**9, "too many layers for"),
        ("architecture.encoder_options.keypoints", 10**9, "no model can be built from the sizes"),
        ("architecture.encoder_options.first_kernel", 10**9 + 1, "no model can be built from the sizes"),
        ("architecture.encoder_options.first_kernel", -1, "no model can be built from the sizes"),
        ("architecture.encoder_options.sharpness", 0.0, "the configuration in"),
        ("architecture.predictor_options.width", HUGE, "no model can be built from the sizes"),
        ("architecture.predictor_options.depth", 10**9, "too many layers for"),
        ("architecture.critic_options.embedding", 4 * HUGE, "no model can be built from the sizes"),
        ("architecture.critic_options.depth", 10**9, "no model can be built from the sizes"),
        ("architecture.decoder_options.width", HUGE, "no model can be built from the sizes"),
    ],
)
def test_absurd_sizes_are_named_in_one_line(folder: Path, path: str, value: Any, message: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["weights_sha256"]
    *sections, key = path.split(".")
    inner = config
    for section in sections:
        inner = inner[section]
    inner[key] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="config.json|model") as raised:
        load(folder, "cpu")
    assert message in str(raised.value)
    assert str(raised.value).isprintable()


def test_a_larger_predictor_of_the_same_file_names_the_tensors(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["weights_sha256"]
    config["architecture"]["predictor_options"]["width"] = 24
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"predictor.action_in.0.weight \(16, 6\) for \(24, 6\)"):
        load(folder, "cpu")


def test_a_wrong_file_is_refused_before_torch_is_loaded(tmp_path: Path) -> None:
    """Which takes a second and 200 MiB."""
    (tmp_path / "text.pt").write_text("no model")
    program = (
        "import sys, wmplan\n"
        "for name in ('no-such-model', sys.argv[1], '/dev/null'):\n"
        "    try: wmplan.load(name)\n"
        "    except ValueError: print('refused')\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "text.pt")], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["refused"] * 3 + ["False"]


def test_loading_does_not_load_torchs_compiler() -> None:
    """Which takes seconds; operations on the meta device would."""
    program = "import sys, wmplan; wmplan.load('pusht', 'cpu'); print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
