"""Two processes over gloo give what one gives: every term that looks over the batch, and whole runs."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from wmplan.cli import main
from wmplan.data.symmetry import Symmetry
from wmplan.training import processes
from wmplan.training.config import LossConfig, StageConfig, TrainConfig
from wmplan.training.pretraining.config import PretrainConfig
from wmplan.training.pretraining.pretrain import pretrain
from wmplan.training.ranks import Ranks
from wmplan.training.train import train

PROGRAM = Path(__file__).parent / "ranks_program.py"
MIRROR = Symmetry("flip_columns", ((-1.0, 0.0), (0.0, 1.0)), ((-1.0, 0.0), (0.0, 1.0)))
SIDES: dict[str, Any] = {
    "reader": StageConfig(3, 5, 1e-3, save_every=1),
    "reader_options": {"channels": [4, 4], "blocks": [1, 1], "hidden": 8},
}
needs_fabric = pytest.mark.skipif(
    importlib.util.find_spec("lightning_fabric") is None, reason="wmplan[scale] is not installed"
)


def torchrun(*arguments: str) -> None:
    """The program in two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(PROGRAM)]
    subprocess.run([*command, *arguments], check=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"})


@needs_fabric
@pytest.mark.slow
def test_what_looks_over_the_batch_has_its_value_and_its_gradient(tmp_path: Path) -> None:
    torchrun("regularisers", str(tmp_path))
    whole = runpy.run_path(str(PROGRAM))["values_and_gradients"](Ranks())
    parts = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert [len(part["sigreg"][1]) for part in parts] == [2, 3]
    assert sum((part["noise"] for part in parts), []) == whole["noise"]
    for part in parts:
        assert part["rank"] == pytest.approx(whole["rank"])
    for name in set(whole) - {"rank", "noise"}:
        value, gradient = whole[name]
        assert np.abs(gradient).max() > 1e-6, f"{name} has no gradient that could be wrong"
        assert [part[name][0] for part in parts] == pytest.approx([value, value], rel=1e-9), name
        np.testing.assert_allclose(np.concatenate([part[name][1] for part in parts]), gradient, rtol=1e-7, atol=1e-12)


def losses(folder: str, stage: str) -> list[float]:
    """Of each step, a report being made at each."""
    return [json.loads(line)["loss"] for line in (Path(folder) / f"{stage}.jsonl").read_text().splitlines()]


@needs_fabric
@pytest.mark.slow
def test_two_processes_train_as_one(tiny: TrainConfig, write_public: Callable[..., Path]) -> None:
    """All stages, with noise, copies, pairs and an odd batch; and a run that one process took up from two."""
    write_public("data.h5", [60, 60, 60])
    config = replace(
        tiny,
        joint=StageConfig(20, 5, 1e-3, save_every=1, optimizer="muon"),
        dynamics=StageConfig(6, 7, 1e-3, save_every=1),
        critic=StageConfig(6, 7, 1e-3, save_every=1),
        decoder=StageConfig(4, 5, 1e-3, save_every=1),
        symmetries={"mirror": MIRROR},
        symmetry_tolerance=100.0,
        latent_noise=0.1,
        loss=LossConfig(target="ema"),
        **SIDES,
    )
    train(config)
    two = replace(config, out=config.out + "-two")
    torchrun("train", json.dumps(asdict(two)))
    for stage, steps in {"joint": 20, "dynamics": 6, "critic": 6, "decoder": 4, "reader": 3}.items():
        one = losses(config.out, stage)
        assert len(one) == steps and len(set(one)) == steps
        np.testing.assert_allclose(losses(two.out, stage), one, rtol=1e-5, err_msg=stage)
    assert not list(Path(two.out).glob("*.tmp*"))


SMALL = [
    "task=none", "encoder.channels=[8]", "encoder.keypoints=4", "encoder.hidden=16", "latent_dim=6", "robot_dim=0",
    "predictor=mlp", "predictor_options={width: 32, depth: 1}", "joint_predictor=null", "joint.steps=300",
    "joint.batch_size=4", "joint.save_every=50", "dynamics.steps=0", "critic.steps=0", "decoder.steps=0", "threads=1",
    "device=cpu", "half=false",
]  # fmt: skip


def children(parent: int) -> list[int]:
    """Processes that a process has begun."""
    return [int(one) for one in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


@needs_fabric
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds the processes by Linux's /proc")
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_all_and_one_process_goes_on(
    killed: int, write_public: Callable[..., Path], tmp_path: Path
) -> None:
    data, out = write_public("data.h5", [60, 60, 60]), tmp_path / "run"
    settings = ["train", f"data={data}", f"out={out}", *SMALL]
    run = subprocess.Popen(
        [sys.executable, "-m", "wmplan", *settings, "devices=2"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 240
        while not (out / "joint.jsonl").exists():
            assert run.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        both = children(run.pid)
        assert len(both) == 2
        os.kill(both[killed], signal.SIGKILL)
        begun = time.monotonic()
        _, errors = run.communicate(timeout=60)
    finally:
        run.kill()
    assert time.monotonic() - begun < 30
    assert run.returncode == 2
    assert not any(Path(f"/proc/{child}").exists() for child in both)
    said = errors.decode()
    assert f"process {killed + 1} of 2 was ended by signal 9, so all have ended; the same command goes on" in said
    assert "Traceback" not in said
    before = losses(str(out), "joint")
    assert main(settings) == 0
    assert losses(str(out), "joint")[: len(before)] == before and len(losses(str(out), "joint")) == 6
    assert (out / "model" / "config.json").exists()


@needs_fabric
@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_another_number_of_processes_takes_a_run_up_and_comes_to_the_same_weights(
    first: int, then: int, write_public: Callable[..., Path], tmp_path: Path
) -> None:
    data, out = write_public("data.h5", [60, 60, 60]), tmp_path / "run"
    settings = ["train", f"data={data}", *SMALL, "joint.steps=120", "joint.save_every=20"]
    assert main([*settings, f"out={tmp_path / 'whole'}"]) == 0
    command = [sys.executable, "-m", "wmplan", *settings, f"out={out}"]
    run = subprocess.Popen([*command, f"devices={first}"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 240
        while not (out / "joint.jsonl").exists():
            assert run.poll() is None and time.monotonic() < until
            time.sleep(0.01)
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=60)
    finally:
        run.kill()
    stopped = re.search(r"saved at step (\d+) of 120", errors.decode())
    assert stopped and 20 <= int(stopped[1]) < 120
    subprocess.run([*command, f"devices={then}"], check=True, timeout=300, capture_output=True)
    taken_up, whole = (load_file(folder / "model" / "weights.safetensors") for folder in (out, tmp_path / "whole"))
    assert taken_up.keys() == whole.keys()
    for name in whole.keys() - {"encoder.0.heatmaps.bias"}:  # which a softmax takes no notice of: its gradient is noise
        np.testing.assert_allclose(taken_up[name], whole[name], rtol=1e-5, atol=2e-5, err_msg=name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["device=gpu"], "device must be auto, cpu, cuda, cuda:1, ... or mps, got 'gpu'"),
        (["device=cuda:99"], "device 'cuda:99' cannot be used here"),
        (["devices=0"], "devices must be at least 1, got 0"),
        (["devices=1000"], "devices must be at most the number of cores"),
        (["devices=2", "device=mps"], "device must be auto, cpu or cuda with several processes"),
        (["precision=16"], "precision"),
        (["logger=mlflow"], "logger"),
    ],
)
def test_a_wrong_setting_is_one_line(
    settings: list[str], message: str, write_public: Callable[..., Path], tmp_path: Path, capsys: Any
) -> None:
    data = write_public("data.h5", [60, 60, 60])
    wanted = [one for one in SMALL if one.split("=")[0] not in {setting.split("=")[0] for setting in settings}]
    assert main(["train", f"data={data}", f"out={tmp_path / 'run'}", *wanted, *settings]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert message in said[-1] and "Traceback" not in said[-1]
    assert not (tmp_path / "run").exists()


def test_fabric_that_is_missing_is_named_with_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    monkeypatch.setattr(processes, "cores", lambda: 4)
    with pytest.raises(ValueError, match=r"needs Lightning Fabric.*pip install 'wmplan\[scale\]'"):
        processes.require_devices("cpu", 2)


def test_a_batch_has_a_row_for_each_process() -> None:
    ranks = Ranks()
    ranks.rank, ranks.world = 1, 3
    assert [(ranks.share(7).start, ranks.share(7).stop)] == [(2, 4)]
    with pytest.raises(ValueError, match="batch_size must be at least the number of processes, 3, got 2"):
        ranks.share(2)


def test_one_process_loads_nothing_of_fabric(tiny: TrainConfig, write_public: Callable[..., Path]) -> None:
    write_public("data.h5", [60, 60, 60])
    before = set(sys.modules)
    none = StageConfig(0, 1, 1.0)
    train(replace(tiny, dynamics=none, critic=none, decoder=none))
    assert not [name for name in set(sys.modules) - before if name.startswith("lightning")]


@needs_fabric
@pytest.mark.slow
@pytest.mark.parametrize("objective", ["lejepa", "ijepa"])
def test_two_processes_pretrain_as_one(objective: Any, write_public: Callable[..., Path], tmp_path: Path) -> None:
    """Masks, standardised targets and SIGReg of the whole batch, which is odd."""
    config = PretrainConfig(
        str(write_public("data.h5", [20, 20, 20])),
        str(tmp_path / "one"),
        objective=objective,
        sigreg=0.1,
        vit={"patch": 8, "width": 16, "depth": 1, "heads": 2},  # type: ignore[arg-type]
        steps=5,
        batch_size=5,
        save_every=1,
        threads=1,
        device="cpu",
    )
    pretrain(config)
    two = replace(config, out=str(tmp_path / "two"))
    torchrun("pretrain", json.dumps(asdict(two)))
    rows = [
        [json.loads(line).get("loss") for line in (Path(one.out) / "pretrain.jsonl").read_text().splitlines()][1:]
        for one in (config, two)
    ]
    assert len(rows[0]) == 5
    np.testing.assert_allclose(rows[1], rows[0], rtol=1e-5)
