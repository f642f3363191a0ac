"""Training on a frozen encoder's latents, with no joint stage: their scale, the robot's state in goals, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wmplan.control import make_controller
from wmplan.data import open_data
from wmplan.errors import UserError
from wmplan.models import JEPA, load, save
from wmplan.training.config import StageConfig, TrainConfig
from wmplan.training.stage import Stage
from wmplan.training.train import train

Write = Callable[..., Path]
NONE = StageConfig(0, 1, 1.0)
SIZE, WIDTH, ROWS = 28, 24, 40


def walk(columns: dict[str, Any], unit: float = 1.0) -> None:
    """A bright square that goes where the actions push it; the robot knows where it is, in metres or in others."""
    rows, rng = len(columns["action"]), np.random.default_rng(2)
    place = np.empty((rows, 2))
    for row in range(rows):
        moved = rng.uniform(-1, 1, 2) if row % ROWS == 0 else place[row - 1] + columns["action"][row - 1]
        place[row] = np.clip(moved, -1, 1)
    corner = np.round((place + 1) / 2 * (SIZE - 8)).astype(int)
    frames = np.full((rows, SIZE, SIZE, 3), 30, np.uint8)
    for frame, (x, y) in zip(frames, corner, strict=True):
        frame[y : y + 8, x : x + 8] = (250, 160, 40)
    columns["pixels"] = frames
    columns["proprio"] = (unit * place).astype(np.float32)


@pytest.fixture
def vision(tmp_path: Path) -> Path:
    """A tiny vision transformer with random weights, as transformers saves it."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIZE}
    transformers.Dinov2Model(transformers.Dinov2Config(**sizes, patch_size=7)).save_pretrained(tmp_path / "vit")
    return tmp_path / "vit"


@pytest.fixture
def frozen(write_public: Write, tiny: TrainConfig, vision: Path) -> TrainConfig:
    """Settings of a run on that encoder, and none of its own."""
    write_public("data.h5", [ROWS] * 20, walk, size=SIZE)
    return replace(
        tiny,
        encoder="hf",
        encoder_options={"name": str(vision), "offline": True, "pool": "grid", "grid": 2},
        latent_dim=4 * WIDTH,
        joint=NONE,
        validation=0.2,
    )


def read_of(model: JEPA, data: Path, unit: float = 1.0) -> np.ndarray:
    """Share of the variance of a data set's robot states that the model reads off its frames."""
    store = open_data(str(data))
    rows = [store.episode(index, ("pixels", "proprio")) for index in range(len(store))]
    frames = torch.from_numpy(np.concatenate([one["pixels"] for one in rows]))[:, None]
    true = np.concatenate([one["proprio"] for one in rows])
    with torch.no_grad():
        state = model.encode(frames)[:, 0, model.visual_dim :].numpy()
    state = state * np.array(model.spec.proprio_std) + np.array(model.spec.proprio_mean)
    share: np.ndarray = 1 - ((state - true) ** 2).mean(0) / true.var(0)
    return share


def test_goals_as_images_alone_carry_the_robots_state_and_latents_have_one_scale(
    frozen: TrainConfig, write_public: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(replace(frozen, critic=NONE, decoder=NONE))
    model: Any = load(tmp_path / "run" / "model")
    unseen = write_public("unseen.h5", [ROWS] * 4, walk, 5, SIZE)
    assert (read_of(model, unseen) > 0.8).all()
    said = capsys.readouterr().err
    assert "the robot's state, read off held-out frames, as a share of its variance: proprio_0 0.9" in said
    assert "about " in said and " latents " in said  # what the run will take is told before the encoder begins
    figures = model.card["figures"]["proprio_read"]
    assert figures["proprio_0"]["r2"] > 0.8 and 0 < figures["proprio_0"]["median_error"] < 0.3
    store = open_data(frozen.data)
    pixels = np.concatenate([store.episode(index, ("pixels",))["pixels"] for index in range(20)])
    with torch.no_grad():
        visual = model.encode_visual(torch.from_numpy(pixels)[:, None])[:, 0]
    moving = visual.std(0, correction=0) > 0.01
    assert moving.float().mean() > 0.9
    torch.testing.assert_close(visual.std(0, correction=0)[moving], torch.ones(int(moving.sum())), atol=0.3, rtol=0)
    assert visual.mean(0).abs().max() < 0.3
    latents = np.load(tmp_path / "run" / "latents.npy")
    assert not np.allclose(latents[: len(visual), : model.visual_dim], visual, atol=0.1)  # the file is as encoded


def test_such_a_model_plans(frozen: TrainConfig, tmp_path: Path) -> None:
    train(replace(frozen, dynamics=StageConfig(300, 32, 3e-3), critic=NONE, decoder=NONE))
    model: Any = load(tmp_path / "run" / "model")
    store = open_data(frozen.data)
    rows = store.episode(0)
    controller = make_controller(model, {"name": "cem", "num_samples": 64, "num_iterations": 3, "horizon": 1})
    towards = []
    for start in range(0, ROWS - 6, 3):
        place, wanted = rows["proprio"][start], rows["proprio"][start + 5]
        controller.reset({"pixels": rows["pixels"][start + 5]}, seeds=0)
        actions = controller.act({"pixels": rows["pixels"][start], "proprio": place})
        towards.append(float(actions @ (wanted - place)))
    assert np.mean(np.array(towards) > 0) >= 0.7, towards


@pytest.mark.slow
def test_a_run_that_was_cut_goes_on_to_the_same_weights(frozen: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = replace(frozen, critic=NONE, decoder=NONE)
    whole = train(replace(frozen, out=frozen.out + "-whole"))
    save_stage = Stage.save

    class Cut(Exception):
        pass

    def cut_after_save(stage: Stage) -> None:
        save_stage(stage)
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(Stage, "save", cut_after_save)
        with pytest.raises(Cut):
            train(frozen)
    fitted = (Path(frozen.out) / "proprio_head.pt").read_bytes()
    cut = train(frozen)
    assert (Path(frozen.out) / "proprio_head.pt").read_bytes() == fitted
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, cut.state_dict()[name]), name


def test_what_nothing_would_train_is_refused(frozen: TrainConfig, tiny: TrainConfig) -> None:
    with pytest.raises(UserError, match="joint.steps is 0 .* nothing would train the encoder"):
        train(replace(tiny, joint=NONE))
    with pytest.raises(UserError, match="nothing would train that of the robot alone; set robot_dim=0"):
        train(replace(frozen, robot_dim=4))
    with pytest.raises(UserError, match="nothing would train the predictor"):
        train(replace(frozen, dynamics=NONE))


def test_a_joint_stage_that_teaches_the_encoder_nothing_is_told(
    frozen: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    train(replace(frozen, joint=StageConfig(1, 4, 1e-3), dynamics=StageConfig(1, 4, 1e-3), critic=NONE, decoder=NONE))
    assert "the encoder 'hf' is frozen" in capsys.readouterr().err


@pytest.fixture
def ours(write_public: Write, tiny: TrainConfig, tmp_path: Path) -> TrainConfig:
    """Settings of a run on an encoder of ours that learnt nothing of this world, and data in millimetres."""
    write_public("first.h5", [70] * 3, size=SIZE)
    first = replace(tiny, data=str(tmp_path / "first.h5"), out=str(tmp_path / "first"))
    save(train(first), tmp_path / "encoder", {})
    write_public("data.h5", [ROWS] * 20, lambda columns: walk(columns, 1000.0), size=SIZE)
    return replace(tiny, pretrained=str(tmp_path / "encoder"), joint=NONE)


def test_the_head_of_a_pretrained_encoder_reads_the_states_of_this_data(ours: TrainConfig, tmp_path: Path) -> None:
    ours = replace(
        ours, dynamics=StageConfig(1, 4, 1e-3), critic=StageConfig(1, 4, 1e-3), decoder=StageConfig(1, 4, 1e-3)
    )
    model = train(ours)
    assert (read_of(model, tmp_path / "data.h5") > 0.8).all()
    assert model.visual_std.max() / model.visual_std.min() > 1.01


def test_what_stays_of_a_pretrained_model_is_told_in_the_units_it_was_trained_in(
    ours: TrainConfig, tmp_path: Path
) -> None:
    first = load(tmp_path / "encoder")
    assert isinstance(first, JEPA)
    model = train(replace(ours, critic=NONE))
    assert model.spec.proprio_std == first.spec.proprio_std != train(replace(ours, out=ours.out + "2")).spec.proprio_std
    assert torch.equal(model.visual_std, first.visual_std) and torch.equal(model.visual_mean, first.visual_mean)
    for name, tensor in first.critic.state_dict().items():
        assert torch.equal(tensor, model.critic.state_dict()[name])
    with pytest.raises(UserError, match="the critic of pretrained=.*, whose action_block is 5, not 4: train a new one"):
        train(replace(ours, critic=NONE, action_block=4, out=ours.out + "3"))


def test_a_pretrained_model_that_is_trained_on_keeps_its_head(ours: TrainConfig, tmp_path: Path) -> None:
    first = load(tmp_path / "encoder")
    model = train(replace(ours, fine_tune=True, critic=NONE, decoder=NONE))
    for name, tensor in first.proprio_head.state_dict().items():
        torch.testing.assert_close(tensor, model.proprio_head.state_dict()[name])


def test_a_state_that_no_frame_shows_is_told(frozen: TrainConfig, write_public: Write, capsys: Any) -> None:
    def with_hidden(columns: dict[str, Any]) -> None:
        walk(columns)
        hidden = np.random.default_rng(1).normal(size=(len(columns["action"]), 1))
        columns["proprio"] = np.concatenate([columns["proprio"], hidden], 1).astype(np.float32)

    write_public("data.h5", [ROWS] * 20, with_hidden, size=SIZE)
    train(replace(frozen, critic=NONE, decoder=NONE))
    assert "goals given as images alone do not tell proprio_2: give their proprio with them" in capsys.readouterr().err
    card = json.loads((Path(frozen.out) / "model" / "config.json").read_text())["card"]
    assert card["figures"]["proprio_read"]["proprio_2"]["r2"] < 0.3
