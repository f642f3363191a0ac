"""The stage that teaches the encoder to see through looks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wmplan.data.collection import CollectConfig, collect
from wmplan.data.reader import open_data
from wmplan.data.varied_frames import COLUMN
from wmplan.errors import UserError
from wmplan.models import JEPA, load
from wmplan.models.encoders import SecondLook
from wmplan.training.appearance import second_latents
from wmplan.training.config import StageConfig, TrainConfig
from wmplan.training.stage import Stage
from wmplan.training.train import train

TASK = "wmplan.envs:wmplan/PushT-v0"
NONE = StageConfig(0, 1, 1.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "pusht"
    looks = ("hue", "light")
    collect(CollectConfig(TASK, str(out), 4, 60, image_size=(32, 32), processes=1, varied_frames=looks), progress=False)
    return out


@pytest.fixture
def config(data: Path, tiny: TrainConfig) -> TrainConfig:
    return replace(
        tiny,
        data=str(data),
        task=TASK,
        robot_dim=4,
        joint=StageConfig(20, 16, 3e-3, optimizer="muon"),
        appearance=StageConfig(100, 24, 3e-3, save_every=50, optimizer="muon"),
        critic=NONE,
        decoder=NONE,
        validation=0.3,
    )


Look = Callable[[torch.Tensor], torch.Tensor]


def alone(model: JEPA) -> Look:
    """The second encoder of a model."""
    return partial(second_latents, model)


def distance(look: Look, seen: torch.Tensor, teacher: JEPA, nominal: torch.Tensor) -> float:
    """Of latents from the teacher's of nominal frames, as a share of these latents' spread."""
    with torch.no_grad():
        latents, targets = look(seen[:, None]), teacher.encode_visual(nominal[:, None])
    return float((latents - targets).square().mean() / (targets - targets.mean(0)).square().mean())


def test_it_brings_varied_frames_to_the_latents_of_the_nominal_ones_and_leaves_those(config: TrainConfig) -> None:
    teacher = train(replace(config, appearance=NONE, out=config.out + "-teacher"))
    student = train(config)
    store = open_data(config.data)
    nominal, varied = (torch.from_numpy(store.column(name)[::7]) for name in ("pixels", COLUMN))
    before, after = (distance(look, varied, teacher, nominal) for look in (teacher.encode_visual, alone(student)))
    assert after < 0.6 * before
    with torch.no_grad():  # where the world looks as it did, the first encoder speaks
        kept, were = (model.encode_visual(nominal[:, None]) for model in (student, teacher))
    assert (kept == were).all(-1).float().mean() > 0.9
    loaded = load(Path(config.out) / "model")
    assert isinstance(loaded, JEPA) and loaded.config.second_look == 2
    assert loaded.card["data"]["varied_frames"] == ["hue", "light"]
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    rows = [json.loads(line) for line in (Path(config.out) / "appearance.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "varied_look" in row and "nominal_look" in row] == [50, 100]


def test_a_second_encoder_begins_as_the_first(config: TrainConfig) -> None:
    quick = replace(config, joint=StageConfig(2, 16, 1e-3), appearance=StageConfig(1, 4, 1e-12))
    model = train(quick)
    frames = torch.from_numpy(open_data(config.data).column("pixels")[:20])
    with torch.no_grad():
        first, second = model.encoder[0].first(frames), model.encoder[0].second(frames)
    np.testing.assert_allclose(second, first, atol=1e-5)


def test_the_second_encoder_speaks_where_the_two_disagree() -> None:
    first, second = torch.nn.Identity(), torch.nn.Linear(2, 2)
    both = SecondLook(first, second, 2)
    torch.nn.init.eye_(second.weight)
    with torch.no_grad():
        second.bias.copy_(torch.tensor([0.3, 0.0]))
    both.scale.copy_(torch.tensor([0.1, 1.0]))
    latents = torch.randn(5, 2)  # 0.3 of a number that changes by 0.1 and nothing of the other: sqrt(9 / 2)
    for tolerance, expected in ((2.12, second(latents)), (2.13, latents)):
        both.tolerance.fill_(tolerance)
        torch.testing.assert_close(both(latents), expected, rtol=0, atol=0)


def test_of_frames_put_together_the_parts_decide_which_encoder_speaks() -> None:
    both = SecondLook(torch.nn.Identity(), torch.nn.ReLU(), 2)  # they disagree about what is below zero
    usual, odd = torch.rand(3, 2), -torch.rand(3, 2)
    for parts, expected in (([usual, usual], odd), ([usual, odd], torch.zeros_like(odd))):
        torch.testing.assert_close(both(odd, parts), expected, rtol=0, atol=0)


def test_a_run_that_was_cut_in_it_goes_on_to_the_same_weights(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = replace(config, joint=StageConfig(2, 4, 1e-3), appearance=StageConfig(4, 8, 1e-3, save_every=2))
    whole = train(replace(quick, out=config.out + "-whole"))
    one_step = Stage.one_step

    def cut(stage: Stage, batch: Any) -> dict[str, float]:
        if stage.name == "appearance" and stage.step == 3:
            raise InterruptedError
        return one_step(stage, batch)

    monkeypatch.setattr(Stage, "one_step", cut)
    with pytest.raises(InterruptedError):
        train(quick)
    monkeypatch.undo()
    for name, tensor in train(quick).state_dict().items():
        assert torch.equal(tensor, whole.state_dict()[name]), name


def test_a_pretrained_encoder_is_taught_too(config: TrainConfig) -> None:
    quick = replace(config, joint=StageConfig(2, 4, 1e-3), appearance=StageConfig(2, 8, 1e-3))
    train(replace(quick, appearance=NONE, out=config.out + "-first"))
    other = {"channels": [4], "keypoints": 3}  # not what the pretrained one is made of
    train(replace(quick, encoder_options=other, pretrained=config.out + "-first/model"))
    loaded = load(Path(config.out) / "model")
    assert isinstance(loaded, JEPA)
    assert loaded.config.encoder_options["channels"] == [8] and loaded.config.second_look == 2


def test_teaching_alone_leaves_the_rest_of_a_model_and_fine_tuning_begins_from_it(
    config: TrainConfig, tmp_path: Path
) -> None:
    whole = replace(
        config, joint=StageConfig(2, 4, 1e-3), critic=StageConfig(1, 4, 1e-3), decoder=StageConfig(1, 4, 1e-3)
    )
    first = train(replace(whole, appearance=NONE, predictor_options={"width": 24}, out=config.out + "-first"))
    taught = replace(config, pretrained=config.out + "-first/model", dynamics=NONE, appearance=StageConfig(2, 8, 1e-3))
    train(taught)
    loaded = load(Path(config.out) / "model")
    assert isinstance(loaded, JEPA) and loaded.spec == first.spec
    assert torch.equal(loaded.whitening, first.whitening) and torch.equal(loaded.error_scale, first.error_scale)
    for part in ("predictor", "critic", "decoder"):
        ours, theirs = (getattr(model, part).state_dict() for model in (loaded, first))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    nearly_none = StageConfig(1, 4, 1e-12)
    tuned = train(replace(taught, fine_tune=True, dynamics=nearly_none, appearance=NONE, out=str(tmp_path / "tuned")))
    for name, tensor in first.predictor.state_dict().items():
        torch.testing.assert_close(tuned.predictor.state_dict()[name], tensor)
    with pytest.raises(UserError, match="history is 2, not 3"):
        train(replace(taught, history=3, out=str(tmp_path / "other")))


def test_data_without_second_frames_and_encoders_that_cannot_grow_are_refused(
    config: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    collect(CollectConfig(TASK, str(tmp_path / "one"), 3, 60, image_size=(32, 32), processes=1), progress=False)
    with pytest.raises(UserError, match="varied_frames=true"):
        train(replace(config, data=str(tmp_path / "one")))
    quick = replace(config, joint=StageConfig(2, 4, 1e-3), appearance=StageConfig(2, 8, 1e-3))
    with pytest.raises(UserError, match="appearance_blocks=0"):
        train(replace(quick, encoder="impala", encoder_options={"channels": [4], "hidden": 8}))
    train(replace(quick, appearance=NONE, out=config.out + "-without"))
    assert "'pixels_varied' is not used" in capsys.readouterr().err


@pytest.mark.parametrize("sharing", ["own", "shared"])
def test_every_camera_is_taught_by_its_own_second_frames(
    config: TrainConfig, write_public: Callable[..., Path], sharing: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def two_cameras(columns: dict[str, Any]) -> None:
        """Dots that two cameras see, and the same in other light, another for each."""
        rows, rng = len(columns["action"]), np.random.default_rng(3)
        place = rng.integers(0, 24, (rows, 2))
        for name, light in {"front": (60, 1.6), "wrist": (-20, 0.5)}.items():
            frames = np.full((rows, 32, 32, 3), 70, np.uint8)
            for frame, (x, y) in zip(frames, place if name == "front" else place[:, ::-1], strict=True):
                frame[y : y + 8, x : x + 8] = (120, 90, 50)
            columns[name] = frames
            columns[f"{name}_varied"] = np.clip(light[0] + light[1] * frames, 0, 255).astype(np.uint8)
        del columns["pixels"]

    path = write_public("two.h5", [70] * 4, two_cameras)
    both = replace(
        config, data=str(path), task=None, cameras=("front", "wrist"), camera_encoders=sharing, robot_dim=0,
        dynamics=StageConfig(1, 4, 1e-3),
    )  # fmt: skip
    teacher = train(replace(both, appearance=NONE, out=config.out + "-teacher"))
    assert "column 'wrist_varied' is not used" in capsys.readouterr().err
    student = train(both)
    store = open_data(str(path), cameras=("front", "wrist"))
    rows = store.episode(0)
    nominal, varied = (
        {name: torch.from_numpy(rows[name + end])[:, None] for name in both.cameras} for end in ("", "_varied")
    )
    with torch.no_grad():
        targets = teacher.encode_visual(nominal)
        assert (student.encode_visual(nominal) == targets).all(-1).float().mean() > 0.9
        before, after = (
            (latents - targets).square().mean()
            for latents in (teacher.encode_visual(varied), second_latents(student, varied))
        )
    assert after < 0.6 * before
    loaded = load(Path(config.out) / "model")
    assert isinstance(loaded, JEPA) and len(loaded.encoder) == (2 if sharing == "own" else 1)
    assert all(one.tolerance > 0 and one.scale.min() > 0 for one in loaded.encoder)
    torch.testing.assert_close(loaded.encode_visual(varied), student.encode_visual(varied))

    def without_one(columns: dict[str, Any]) -> None:
        two_cameras(columns)
        del columns["wrist_varied"]

    lacking = write_public("lacking.h5", [70] * 4, without_one)
    with pytest.raises(UserError, match="stage appearance takes the column 'wrist_varied'"):
        train(replace(both, data=str(lacking), out=config.out + "-lacking"))
