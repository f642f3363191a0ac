"""A whole run on a few episodes: it ends in a model that loads, and a run that was cut goes on to the same weights."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from wmplan.data.collect import CollectConfig, collect
from wmplan.errors import UserError
from wmplan.models import load, save
from wmplan.training.config import LossConfig, StageConfig, TrainConfig
from wmplan.training.stage import Stage
from wmplan.training.train import train

TASK = "wmplan.envs:wmplan/PushT-v0"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "pusht"
    collect(CollectConfig(TASK, str(out), episodes=4, steps=60, processes=1), progress=False)
    return out


@pytest.fixture
def config(data: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        data=str(data),
        out=str(tmp_path / "run"),
        name="tiny",
        task=TASK,
        planning={"planner": {"num_samples": 8}},
        encoder_options={"channels": [8], "keypoints": 4, "hidden": 16},
        latent_dim=6,
        predictor_options={"width": 32, "depth": 1},
        critic_options={"width": 16, "embedding": 8},
        joint=StageConfig(6, 4, 1e-3, save_every=2),
        dynamics=StageConfig(4, 4, 1e-3, save_every=2),
        temporal=StageConfig(2, 4, 1e-3),
        pictures=StageConfig(2, 4, 1e-3),
        validation=0.3,
        threads=1,
        half=False,
    )


class Cut(Exception):
    """Stands for a kill right after a save."""


@pytest.mark.slow
def test_a_run_that_was_cut_goes_on_to_the_same_weights(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(replace(config, out=config.out + "-whole"))
    save_stage, saves = Stage.save, []

    def cut_after_third_save(stage: Stage) -> None:
        save_stage(stage)
        saves.append(stage.name)
        if len(saves) in (1, 4):  # in the first stage and in the second
            raise Cut

    monkeypatch.setattr(Stage, "save", cut_after_third_save)
    for _ in range(2):
        with pytest.raises(Cut):
            train(config)
    cut = train(config)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, cut.state_dict()[name]), name
    log = [json.loads(line)["step"] for line in (Path(config.out) / "joint.jsonl").read_text().splitlines()]
    assert log == [2, 4, 6]


@pytest.mark.slow
def test_a_line_that_a_kill_left_torn_is_cut_from_the_log(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    save_stage = Stage.save

    def cut_after_first_save(stage: Stage) -> None:
        save_stage(stage)
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(Stage, "save", cut_after_first_save)
        with pytest.raises(Cut):
            train(config)
    log = Path(config.out) / "joint.jsonl"
    with log.open("a") as file:
        file.write('{"step": 4, "lo')
    train(config)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [2, 4, 6]


@pytest.mark.slow
def test_the_model_loads_and_its_card_tells_where_it_comes_from(config: TrainConfig) -> None:
    trained = train(config)
    folder = Path(config.out) / "model"
    loaded = load(folder)
    frames = torch.randint(0, 255, (2, 3, 64, 64, 3), dtype=torch.uint8)
    assert torch.equal(loaded.encode(frames), trained.encode(frames))
    card = json.loads((folder / "config.json").read_text())["card"]
    assert card["data"]["episodes"] == 4 and card["seed"] == 0 and card["task"] == TASK
    assert card["planning"] == {"planner": {"num_samples": 8}}
    assert len(card["figures"]["open_loop"]) == 5
    assert set(card["figures"]["probe_mlp"]) >= {"block_x_m", "block_angle_rad"}
    assert (folder / "curves.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_pretrained_encoder_stays_as_it_is(config: TrainConfig, tmp_path: Path) -> None:
    first = train(config)
    save(first, tmp_path / "encoder", {})
    second = train(
        replace(
            config, out=config.out + "2", pretrained=str(tmp_path / "encoder"), joint=StageConfig(0, 1, 1.0), seed=5
        )
    )
    for name, tensor in first.encoder.state_dict().items():
        assert torch.equal(tensor, second.encoder.state_dict()[name])
    assert not torch.equal(first.predictor.out.weight, second.predictor.out.weight)
    assert not (Path(config.out + "2") / "joint.jsonl").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss", [LossConfig(target="ema"), LossConfig(sigreg=0.0), LossConfig(variance=0, covariance=0)]
)
def test_every_guard_against_collapse_trains(config: TrainConfig, loss: LossConfig) -> None:
    train(replace(config, loss=loss, temporal=StageConfig(0, 1, 1.0), pictures=StageConfig(0, 1, 1.0)))


def test_other_settings_in_the_same_folder_are_refused(config: TrainConfig) -> None:
    none = StageConfig(0, 1, 1.0)
    train(replace(config, joint=StageConfig(1, 2, 1e-3), dynamics=none, temporal=none, pictures=none))
    with pytest.raises(UserError, match="holds a run with joint="):
        train(config)


def test_data_of_another_task_is_refused(config: TrainConfig) -> None:
    with pytest.raises(UserError, match="not of wmplan.envs:wmplan/ArmReach-v0"):
        train(replace(config, task="wmplan.envs:wmplan/ArmReach-v0"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("history", 0),
        ("latent_noise", -0.1),
        ("expectile", 1.0),
        ("validation", 0.0),
        ("threads", -1),
        ("latent_dim", 0),
    ],
)
def test_a_wrong_setting_is_named(config: TrainConfig, field: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{field} is {value}"):
        replace(config, **{field: value})


def test_something_has_to_train_the_encoder(config: TrainConfig) -> None:
    with pytest.raises(UserError, match="nothing would train the encoder"):
        replace(config, joint=StageConfig(0, 1, 1.0))
