"""Whole runs, tiny: what they write, that they go on exactly, and what they refuse."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from wmplan.errors import UserError
from wmplan.models import load_pretrained
from wmplan.models.video_jepa import ViTConfig
from wmplan.training.config import TrainConfig
from wmplan.training.curves import read_log
from wmplan.training.pretrained_encoder import with_encoder_of
from wmplan.training.pretraining.config import PretrainConfig
from wmplan.training.pretraining.masks import MaskConfig
from wmplan.training.pretraining.pretrain import Pretraining, pretrain
from wmplan.training.stage import Stage

SIZES = ViTConfig(width=24, depth=1, heads=2, predictor_width=12, predictor_depth=1, predictor_heads=2)


@pytest.fixture
def config(tmp_path: Path, write_public: Callable[..., Path]) -> PretrainConfig:
    """Of a run on two episodes whose state is how bright the frames are."""

    def edit(columns: dict[str, Any]) -> None:
        brightness = np.random.default_rng(0).integers(40, 200, len(columns["pixels"]))
        columns["pixels"] = (columns["pixels"] // 8 + brightness[:, None, None, None]).astype(np.uint8)
        columns["state"] = brightness[:, None].astype(np.float32)

    data = write_public("data.h5", [60, 60], edit)
    return PretrainConfig(
        str(data), str(tmp_path / "run"), vit=SIZES, steps=6, batch_size=8, save_every=2, threads=1, half=False
    )


def weights(folder: str | Path) -> dict[str, torch.Tensor]:
    return load_pretrained(folder, "cpu").state_dict()


@pytest.mark.parametrize("objective", ["ijepa", "vjepa", "lejepa"])
def test_a_run_leaves_an_encoder_with_its_card(config: PretrainConfig, objective: str) -> None:
    config = replace(config, objective=objective)  # type: ignore[arg-type]
    pretrain(config)
    model = load_pretrained(config.out, "cpu")
    assert model.encoder.grid == ((4, 4, 4) if objective == "vjepa" else (1, 4, 4))
    figures = model.card["figures"]
    assert figures["probe"].keys() == figures["untrained"]["probe"].keys() == {"state_0"}
    assert figures["effective_rank"] > 0 and ("lag" in figures) == (objective != "lejepa")
    rows = read_log(Path(config.out) / "pretrain.jsonl")
    assert [row["step"] for row in rows] == [0, 2, 4, 6] and (Path(config.out) / "model" / "curves.png").exists()
    before = weights(config.out)
    pretrain(config)  # a finished run changes nothing
    assert all(torch.equal(one, before[name]) for name, one in weights(config.out).items())


def test_what_comes_next_is_learned_and_nothing_is_planned_with_it(config: PretrainConfig) -> None:
    config = replace(config, objective="next", optimizer="muon", frames=8, steps=30, save_every=10, learning_rate=0.01)
    model = pretrain(config)
    assert model.causal and model.encoder.grid == (4, 4, 4)
    rows = read_log(Path(config.out) / "pretrain.jsonl")
    assert rows[-1]["expectation"] < rows[1]["expectation"] and not rows[-1]["collapsed"]
    with pytest.raises(UserError, match=r"looks at clips from their beginning \(objective=next\)"):
        with_encoder_of(model, TrainConfig(config.data, "pusht", "x", pretrained=config.out))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"fine_tune": True}, "fine_tune=true goes on with a pretrained model's predictor"),
        ({"encoder": "impala"}, "encoder=impala is not what pretrained=.* holds"),
        ({"encoder": "token_vit", "encoder_options": {"width": 7}}, "encoder.width is 7, which pretrained=.* settles"),
    ],
)
def test_what_a_pretrained_encoder_settles_is_not_ignored(
    config: PretrainConfig, settings: dict[str, object], says: str
) -> None:
    model = pretrain(replace(config, steps=0))
    asked = TrainConfig(config.data, "pusht", "x", pretrained=config.out, **settings)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=says):
        with_encoder_of(model, asked)


class Killed(Pretraining):
    """Dies in its fifth step, when it was saved at the fourth."""

    def make_stage(self) -> Stage:
        stage = super().make_stage()
        update = stage.after_step
        assert update is not None

        def die() -> None:
            if stage.step == 4:
                raise MemoryError
            update()

        stage.after_step = die
        return stage


def test_a_killed_run_goes_on_to_the_same_weights(config: PretrainConfig, tmp_path: Path) -> None:
    whole = replace(config, out=str(tmp_path / "whole"))
    pretrain(whole)
    with pytest.raises(MemoryError):
        Killed(config).run()
    assert not (Path(config.out) / "model").exists()
    pretrain(config)
    left, right = weights(config.out), weights(whole.out)
    assert all(torch.equal(left[name], right[name]) for name in right)
    rows = [read_log(Path(one.out) / "pretrain.jsonl") for one in (config, whole)]
    timeless = [[{key: row[key] for key in row if "second" not in key} for row in log] for log in rows]
    assert timeless[0] == timeless[1]


def test_the_probe_improves_where_there_is_something_to_learn(config: PretrainConfig) -> None:
    """Brightness is the one thing that a hidden patch can be predicted by."""
    pretrain(replace(config, steps=60, save_every=60, learning_rate=3e-3, momentum=(0.9, 1.0)))
    figures = load_pretrained(config.out, "cpu").card["figures"]
    assert figures["probe"]["state_0"] < 0.5 and not figures["collapsed"]


def test_a_folder_of_images_is_enough_and_the_broken_are_named(
    config: PretrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng, folder = np.random.default_rng(0), tmp_path / "images" / "deeper"
    folder.mkdir(parents=True)
    for number in range(12):
        Image.fromarray(rng.integers(0, 255, (20, 30, 3), np.uint8)).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    pretrain(replace(config, data=str(folder.parent), image_size=(32, 32), batch_size=4, validation=0.2))
    assert "1 left out: broken.png" in capsys.readouterr().err
    card = load_pretrained(config.out, "cpu").card
    assert card["data"]["episodes"] == 12 and "probe" not in card["figures"]


def test_a_collapse_is_told_and_the_run_goes_on(config: PretrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    wild = replace(config, objective="lejepa", steps=40, save_every=10, learning_rate=0.5, weight_decay=(1.9, 1.9))
    pretrain(wild)
    alarms = [line for line in capsys.readouterr().err.splitlines() if line.startswith("collapse alarm")]
    assert alarms and all("take" in line for line in alarms)


def test_no_steps_leave_the_untrained_network(config: PretrainConfig) -> None:
    model = pretrain(replace(config, steps=0))
    assert model.target is not None
    for one, other in zip(model.target.parameters(), model.encoder.parameters(), strict=True):
        assert torch.equal(one, other)
    card = load_pretrained(config.out, "cpu").card
    assert card["figures"]["probe"] == card["figures"]["untrained"]["probe"]


def test_other_settings_in_the_same_folder_are_refused(config: PretrainConfig) -> None:
    pretrain(config)
    with pytest.raises(UserError, match="learning_rate"):
        pretrain(replace(config, learning_rate=0.5))


def test_what_cannot_be_run(config: PretrainConfig) -> None:
    for wrong, says in {
        "grid": (replace(config, vit=replace(SIZES, patch=32)), "a grid of 1 x 1 patches .* works is 2 x 2"),
        "clip": (replace(config, frames=90), "windows of 90 frames"),
        "size": (replace(config, image_size=(64, 64)), "has frames of 32 x 32, not 64 x 64"),
        "data": (replace(config, data="nowhere"), "nowhere is no data set"),
        "next": (replace(config, objective="next", frames=2), "clips have 1 token along time, objective=next"),
        "tubelet": (replace(config, vit=replace(SIZES, tubelet=9)), "vit.tubelet must be at most the clip's frames, 1"),
    }.values():
        with pytest.raises(UserError, match=says):
            pretrain(wrong)
    for settings, says in [
        ({"sigreg": 1.0}, "sigreg must be at least 0 and below 1, got 1.0"),
        ({"momentum": (0.9, 1.2)}, "momentum must be two from 0 to 1"),
        ({"objective": "lejepa", "momentum": (0.9, 1.0)}, "which objective=lejepa has not"),
        ({"objective": "next", "masks": (MaskConfig(),)}, "masks are of tokens that are hidden"),
        ({"masks": ()}, "masks must have at least one entry"),
        ({"objective": "next", "targets": "layer"}, "targets is of features, objective=next predicts colours"),
        ({"objective": "next", "sigreg": 0.5}, "sigreg is of features"),
    ]:
        with pytest.raises(UserError, match=says):
            replace(config, **settings)  # type: ignore[arg-type]


def test_one_held_out_image_is_too_few(config: PretrainConfig, tmp_path: Path) -> None:
    """Nothing tells of one whether features spread: the alarm of a collapse would be a false one."""
    (tmp_path / "few").mkdir()
    for index in range(3):
        Image.new("RGB", (32, 32), (80 * index, 0, 0)).save(tmp_path / "few" / f"{index}.png")
    with pytest.raises(UserError, match="at least 2 frames to hold out, got 1: .* validation, which is"):
        pretrain(replace(config, data=str(tmp_path / "few"), out=str(tmp_path / "run"), batch_size=1))
