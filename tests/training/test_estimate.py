"""The estimate of a whole run: from batches like the real ones, and without a trace in the model."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from wmplan.training import estimate as module
from wmplan.training.config import TrainConfig
from wmplan.training.estimate import Estimate, SameBatch, left_as_it_was, made_up_batch, seconds_per_step, spoken
from wmplan.training.fingerprint import tensors_hash
from wmplan.training.stage import Stage
from wmplan.training.train import Run, train

Write = Callable[..., Path]
DENSE = {"predictor": "hidden_state", "predictor_options": {"hidden": 8, "width": 16}}


@pytest.mark.parametrize("change", [{}, DENSE, {"proprio": False}])
def test_batches_are_made_up_like_the_real_ones(write_public: Write, tiny: TrainConfig, change: dict[str, Any]) -> None:
    write_public("data.h5", [70, 70, 70])
    run = Run(replace(tiny, **change))
    run.latents = np.zeros((run.store.num_rows, *run.model.spec.latent_shape), np.float32)
    assert list(run.windows) == ["joint", "dynamics", "critic", "decoder"]
    for name, windows in run.windows.items():
        real = next(iter(run.batches(name)))
        made = made_up_batch(windows, run.model, tuple(real), run.is_dense(name))
        for column, values in real.items():
            assert made[column].shape == values.shape and made[column].dtype == values.dtype, (name, column)


def test_timing_leaves_the_model_and_the_global_generator_as_they_were(write_public: Write, tiny: TrainConfig) -> None:
    write_public("data.h5", [70, 70, 70])
    run = Run(tiny)
    run.model.encoder.requires_grad_(False)
    run.model.predictor.train(False)

    def state() -> Any:
        model = run.model
        flags = [(p.requires_grad, p.grad) for p in model.parameters()]
        return (
            tensors_hash(model.state_dict()),
            flags,
            [part.training for part in model.modules()],
            torch.get_rng_state(),
        )

    before = state()
    found = run.estimate_from("joint", 1)
    after = state()
    assert before[:3] == after[:3] and torch.equal(before[3], after[3])
    assert list(found.parts) == ["joint", "latents", "dynamics", "critic", "decoder"]
    assert list(run.estimate_from("critic", 0).parts) == ["critic", "decoder"]
    assert all(seconds > 0 for seconds in found.parts.values())
    assert not (Path(tiny.out) / "joint.checkpoint.pt").exists()


def test_weights_come_back_after_an_exception_too() -> None:
    net = nn.Linear(2, 2)
    before = tensors_hash(net.state_dict())
    with pytest.raises(KeyboardInterrupt), left_as_it_was(net):
        net.weight.data.zero_()
        raise KeyboardInterrupt
    assert tensors_hash(net.state_dict()) == before


def test_a_step_is_timed_after_one_to_warm_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, steps = [0.0], []
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    net = nn.Linear(2, 2)

    def loss(batch: Any, generator: Any) -> Any:
        steps.append(1)
        clock[0] += 60.0 if len(steps) == 1 else 0.5
        return net(batch["x"]).sum(), {}

    batches = SameBatch({"x": torch.ones(3, 2)})
    stage = Stage(
        "x",
        net,
        loss,
        batches,
        steps=9,
        learning_rate=1.0,
        weight_decay=0.0,
        optimizer="adamw",
        seed=0,
        folder=tmp_path,
    )
    assert seconds_per_step(stage) == 0.5


def test_what_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    estimate = Estimate({"joint": 1000.0, "latents": 20.0, "dynamics": 500.0})
    assert estimate.after("joint") == 520.0 and estimate.after("dynamics") == 0.0
    estimate.say()
    said = "about 25 min in all on this machine: joint 17 min, latents 20 s, dynamics 8 min\n"
    assert capsys.readouterr().err == said
    assert [spoken(seconds) for seconds in (0.2, 89, 91, 5399, 9000)] == ["0 s", "89 s", "2 min", "90 min", "2.5 h"]


def test_a_run_says_it_once_and_a_finished_one_never(
    write_public: Write, tiny: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    write_public("data.h5", [70, 70, 70])
    train(tiny)
    out, err = capsys.readouterr()
    assert err.count("in all on this machine: joint") == 1
    assert "joint 2/2, 0.0 min left (0.0 of the run): " in out and "decoder 2/2, 0.0 min left: " in out
    (Path(tiny.out) / "decoder.checkpoint.pt").unlink()
    train(tiny)
    assert "in all on this machine: decoder" in capsys.readouterr().err
    train(tiny)
    assert "in all" not in capsys.readouterr().err
