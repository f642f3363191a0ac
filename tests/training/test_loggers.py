"""Figures of a run in TensorBoard's and Weights & Biases' own files, read back by their own readers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from wmplan.training.config import StageConfig, TrainConfig
from wmplan.training.loggers import flat, make_logger
from wmplan.training.train import train


def test_figures_are_named_by_their_place() -> None:
    row = {"step": 3, "loss": 0.5, "open_loop": [0.1, 0.2], "probe": {"x": {"far": 1}}, "collapsed": False, "why": "no"}
    assert flat(row) == {"loss": 0.5, "open_loop/1": 0.1, "open_loop/2": 0.2, "probe/x/far": 1.0, "collapsed": 0.0}


@pytest.mark.parametrize(("kind", "package"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")])
def test_a_missing_package_is_named(kind: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"logger={kind} needs {kind}.*pip install 'wmplan\[{kind}\]'"):
        make_logger(kind, tmp_path, "run", {})  # type: ignore[arg-type]


def losses(config: TrainConfig) -> dict[int, float]:
    """By step, of our own log."""
    rows = [json.loads(line) for line in (Path(config.out) / "joint.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows}


@pytest.fixture
def short(tiny: TrainConfig, write_public: Callable[..., Path]) -> TrainConfig:
    write_public("data.h5", [60, 60, 60])
    none = StageConfig(0, 1, 1.0)
    return replace(tiny, joint=StageConfig(4, 4, 1e-3, save_every=2), dynamics=none, critic=none, decoder=none)


def test_a_run_without_the_package_leaves_nothing(short: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match="logger=wandb needs wandb"):
        train(replace(short, logger="wandb"))
    assert not Path(short.out).exists()


@pytest.mark.slow
def test_tensorboard(short: TrainConfig) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(replace(short, logger="tensorboard"))
    events = reader.EventAccumulator(str(Path(short.out) / "tensorboard"))
    events.Reload()
    seen = {event.step: event.value for event in events.Scalars("joint/loss")}
    assert seen == pytest.approx(losses(short), rel=1e-6)
    assert "joint/open_loop/1" in events.Tags()["scalars"]


@pytest.mark.slow
def test_wandb_offline(short: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    train(replace(short, logger="wandb"))
    runs = list((Path(short.out) / "wandb_runs").rglob("*.wandb"))
    assert len(runs) == 1 and runs[0].stat().st_size > 0
    content = runs[0].read_bytes()
    assert b"joint/loss" in content and b"joint/open_loop/1" in content
