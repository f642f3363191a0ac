"""A run goes on with what it was begun with, whatever the paths; anything else is refused by name."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
import torch

from wmplan.checked import read_json_checked, write_json_checked
from wmplan.errors import UserError
from wmplan.models import load, save
from wmplan.training.config import StageConfig, TrainConfig
from wmplan.training.identity import claim, compared, read_record
from wmplan.training.train import train

Write = Callable[..., Path]
BEGIN_ANEW = "give another out=DIR, or delete .* to begin anew"


def same_weights(folder: Path, weights: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, weights[name]) for name, tensor in load(folder).state_dict().items())


def test_data_and_run_may_move(trained: TrainConfig, tmp_path: Path) -> None:
    weights = load(tmp_path / "run" / "model").state_dict()
    (tmp_path / "disk").mkdir()
    shutil.move(tmp_path / "data.h5", tmp_path / "disk" / "renamed.h5")
    shutil.move(tmp_path / "run", tmp_path / "disk" / "run")
    config = replace(trained, data=str(tmp_path / "disk" / "renamed.h5"), out=str(tmp_path / "disk" / "run"))
    train(replace(config, name="other", half=True, planning={"planner": {"horizon": 3}}))
    card = json.loads((tmp_path / "disk" / "run" / "model" / "config.json").read_text())["card"]
    assert card["name"] == "other" and card["planning"] == {"planner": {"horizon": 3}}
    train(config)
    assert same_weights(tmp_path / "disk" / "run" / "model", weights)


@pytest.mark.parametrize("remove", [(), ("dynamics.checkpoint.pt",), ("dynamics.checkpoint.pt", "latents.npy")])
def test_data_that_was_edited_in_place_is_refused(
    trained: TrainConfig, tmp_path: Path, remove: tuple[str, ...]
) -> None:
    for name in remove:
        (tmp_path / "run" / name).unlink()
    with h5py.File(tmp_path / "data.h5", "r+") as file:
        file["pixels"][40] = 255 - file["pixels"][40]
    before = (tmp_path / "run" / "model" / "weights.safetensors").read_bytes()
    with pytest.raises(UserError, match=f"holds a run on other data: data.h5 of data=.*{BEGIN_ANEW}"):
        train(trained)
    assert (tmp_path / "run" / "model" / "weights.safetensors").read_bytes() == before


def test_data_that_grew_or_lost_a_file_names_the_file(write_public: Write, tiny: TrainConfig, tmp_path: Path) -> None:
    for number in range(3):
        write_public(f"data/{number}.h5", [70], seed=number)
    none = StageConfig(0, 1, 1.0)
    config = replace(tiny, data=str(tmp_path / "data"), dynamics=none, critic=none, decoder=none)
    train(config)
    write_public("data/3.h5", [70], seed=3)
    with pytest.raises(UserError, match="other data: "):
        train(config)
    (tmp_path / "data" / "3.h5").unlink()
    train(config)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 5}, "seed=0, this one has 5"),
        ({"dynamics": StageConfig(3, 4, 1e-3)}, "dynamics.steps=2, this one has 3"),
        ({"encoder_options": {"channels": [4], "keypoints": 4, "hidden": 16}}, "encoder_options.channels=[8], this"),
        ({"proprio": False}, "proprio=true, this one has false"),
    ],
)
def test_one_setting_that_differs_is_named_with_both_values(trained: TrainConfig, change: dict, says: str) -> None:
    with pytest.raises(UserError, match=f"holds a training run with {re.escape(says)}.*{BEGIN_ANEW}"):
        train(replace(trained, **change))


def test_files_of_another_run_are_refused(trained: TrainConfig, tmp_path: Path) -> None:
    other = replace(trained, out=str(tmp_path / "other"), seed=1)
    train(other)
    for name in ("joint.checkpoint.pt", "latents.npy", "dynamics.checkpoint.pt"):
        mine = (tmp_path / "run" / name).read_bytes()
        shutil.copy(tmp_path / "other" / name, tmp_path / "run" / name)
        with pytest.raises(UserError, match=name):
            train(trained)
        (tmp_path / "run" / name).write_bytes(mine)
    train(trained)


def test_a_first_stage_that_came_out_otherwise_names_all_that_is_stale(trained: TrainConfig, tmp_path: Path) -> None:
    from wmplan.training.identity import require_encoder

    with pytest.raises(UserError, match="another encoder than dynamics.checkpoint.pt, latents.npy were made with"):
        require_encoder(tmp_path / "run", {"encoder": "another"})


def test_another_encoder_under_the_same_name_is_refused(trained: TrainConfig, tmp_path: Path) -> None:
    first = load(tmp_path / "run" / "model")
    save(first, tmp_path / "encoder", {})
    config = replace(
        trained, out=str(tmp_path / "second"), pretrained=str(tmp_path / "encoder"), joint=StageConfig(0, 1, 1.0)
    )
    train(config)
    save(first, tmp_path / "encoder", {"note": "another card, the same weights"})
    train(config)
    with torch.no_grad():
        next(first.encoder.parameters()).mul_(1.01)
    save(first, tmp_path / "encoder", {})
    with pytest.raises(UserError, match=f"another encoder: that of pretrained=.* has other weights; {BEGIN_ANEW}"):
        train(config)


def test_a_first_try_that_made_nothing_binds_nobody(tiny: TrainConfig, tmp_path: Path) -> None:
    config = replace(tiny, out=str(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    record, log = tmp_path / "run" / "train.json", tmp_path / "run" / "joint.jsonl"
    for before in ({"settings": {**compared(config), "rollout": 40}, "data": {}, "pretrained": None}, {"seed": 9}):
        write_json_checked(record, before)
        log.write_text('{"step": 0, "loss": 3.0}\n')
        assert read_record(config) is None
        claim(config, None, {}, None)
        assert read_json_checked(record)["settings"] == compared(config) and not log.exists()
    (tmp_path / "run" / "joint.checkpoint.pt").write_bytes(b"")
    with pytest.raises(UserError, match="holds a training run with seed=0, this one has 1"):
        read_record(replace(config, seed=1))


def test_a_damaged_record_is_refused_and_can_be_deleted(trained: TrainConfig, tmp_path: Path) -> None:
    record = tmp_path / "run" / "train.json"
    weights = load(tmp_path / "run" / "model").state_dict()
    record.write_text(record.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(UserError, match=r"train.json is damaged .*delete it"):
        train(replace(trained, seed=1))
    record.unlink()
    with pytest.raises(UserError, match=r"joint.checkpoint.pt was made with settings.seed=0, this run has 1"):
        train(replace(trained, seed=1))
    record.unlink()
    train(trained)
    assert same_weights(tmp_path / "run" / "model", weights)
