"""A whole run on a few episodes: it ends in a model that loads, and a run that was cut goes on to the same weights."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wmplan.data import EpisodeStore, StoreMeta
from wmplan.data.collection import CollectConfig, collect
from wmplan.data.symmetry import Symmetry
from wmplan.errors import UserError
from wmplan.models import JEPA, load, save
from wmplan.training.config import LossConfig, StageConfig, TrainConfig
from wmplan.training.export import export
from wmplan.training.regions import Region
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
        predictor="mlp",
        predictor_options={"width": 32, "depth": 1},
        joint_predictor=None,
        critic_options={"width": 16, "embedding": 8},
        joint=StageConfig(6, 4, 1e-3, save_every=2),
        dynamics=StageConfig(4, 4, 1e-3, save_every=2),
        critic=StageConfig(2, 4, 1e-3),
        decoder=StageConfig(2, 4, 1e-3),
        validation=0.3,
        threads=1,
        half=False,
    )


class Cut(Exception):
    """Stands for a kill right after a save."""


MIRROR = Symmetry("flip_columns", ((-1.0, 0.0), (0.0, 1.0)), ((-1.0, 0.0), (0.0, 1.0)))
HIDDEN_STATE: dict[str, Any] = {
    "predictor": "hidden_state",
    "predictor_options": {"hidden": 8, "width": 16},
    "joint_predictor": "mlp",
    "joint_predictor_options": {"width": 16, "depth": 1},
    "symmetries": {"mirror": MIRROR},
    "symmetry_tolerance": 100.0,
}


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {**HIDDEN_STATE, "bfloat16": True}, {"symmetries": {"mirror": MIRROR}}])
def test_a_run_that_was_cut_goes_on_to_the_same_weights(
    config: TrainConfig, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, **changes)
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
def test_the_predictor_of_the_first_stage_is_not_that_of_the_model(config: TrainConfig) -> None:
    trained = train(replace(config, **HIDDEN_STATE))
    loaded = load(Path(config.out) / "model")
    context, actions = torch.randn(2, 2, 16), torch.rand(2, 3, 4, 10) - 0.5
    past = torch.zeros(2, 1, 10)
    with torch.no_grad():
        predicted = loaded.rollout(context, actions, past)
        torch.testing.assert_close(predicted, trained.rollout(context, actions, past))
        torch.testing.assert_close(loaded.rollout_last(context, actions, past), predicted[:, :, -1:])
    assert loaded.config.predictor == "hidden_state"
    first = torch.load(Path(config.out) / "joint.checkpoint.pt", weights_only=True)["module"]
    assert "model.predictor.latent_in.0.weight" in first and first["model.predictor.out.weight"].shape == (16, 16)


@pytest.mark.slow
def test_symmetries_are_measured_said_and_left_out_where_they_do_not_hold(
    config: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    none = StageConfig(0, 1, 1.0)
    wrong = Symmetry("same", ((1.0, 0.0), (0.0, 1.0)), ((-1.0, 0.0), (0.0, -1.0)))
    same = Symmetry("same", ((1.0, 0.0), (0.0, 1.0)), ((1.0, 0.0), (0.0, 1.0)))
    symmetries = {"same": same, "wrong": wrong}
    config = replace(config, symmetries=symmetries, symmetry_tolerance=0.01, critic=none, decoder=none)
    train(config)
    said = capsys.readouterr().err
    assert "symmetry same: the prediction error on copies differs from that on recorded data by +0.0 %; used" in said
    assert "left out, symmetry_tolerance is 0.01" in said
    figures = json.loads((Path(config.out) / "model" / "config.json").read_text())["card"]["figures"]["symmetries"]
    assert figures["same"] == {"excess": 0.0, "used": True} and not figures["wrong"]["used"]
    latents = np.load(Path(config.out) / "latents.npy")
    np.testing.assert_allclose(np.load(Path(config.out) / "latents.same.npy"), latents, atol=1e-6)
    assert not (Path(config.out) / "latents.wrong.npy").exists()


@pytest.mark.slow
def test_the_probe_is_told_by_region_in_the_log_and_on_the_card(config: TrainConfig) -> None:
    none = StageConfig(0, 1, 1.0)
    regions = {"left": Region(("block_x_m",), above=-1.0), "nowhere": Region(("block_x_m",), above=9.0)}
    train(replace(config, regions=regions, dynamics=none, critic=none, decoder=none))
    (_, _, last) = [json.loads(line) for line in (Path(config.out) / "joint.jsonl").read_text().splitlines()]
    assert set(last["probe_by_region"]) == {"all", "left"}
    assert last["probe_by_region"]["all"] == last["probe_by_region"]["left"] > 0
    figures = json.loads((Path(config.out) / "model" / "config.json").read_text())["card"]["figures"]
    median, p90 = figures["probe_by_region"]["block_angle_rad"]["all"]
    assert median == figures["probe_mlp"]["block_angle_rad"] < p90


def test_a_symmetry_of_another_robot_is_refused(config: TrainConfig) -> None:
    with pytest.raises(UserError, match="symmetries.turn.action must be a 2 x 2 matrix, got 1 rows"):
        train(replace(config, symmetries={"turn": Symmetry("half_turn", ((-1.0,),))}))


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
    train(replace(config, loss=loss, critic=StageConfig(0, 1, 1.0), decoder=StageConfig(0, 1, 1.0)))


def test_other_settings_in_the_same_folder_are_refused(config: TrainConfig) -> None:
    none = StageConfig(0, 1, 1.0)
    train(replace(config, joint=StageConfig(1, 2, 1e-3), dynamics=none, critic=none, decoder=none))
    with pytest.raises(UserError, match="holds a training run with joint.steps=1, this one has 6"):
        train(config)


def test_data_of_another_task_is_refused(config: TrainConfig) -> None:
    with pytest.raises(UserError, match="not of wmplan.envs:wmplan/ArmReach-v0"):
        train(replace(config, task="wmplan.envs:wmplan/ArmReach-v0"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("history", 0),
        ("latent_noise", -0.1),
        ("state_weight", -1.0),
        ("expectile", 1.0),
        ("validation", 0.0),
        ("threads", -1),
        ("latent_dim", 0),
    ],
)
def test_a_wrong_setting_is_named(config: TrainConfig, field: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{field} must be .*, got {value}"):
        replace(config, **{field: value})


def test_something_has_to_train_the_encoder(config: TrainConfig) -> None:
    with pytest.raises(UserError, match="nothing would train the encoder"):
        train(replace(config, joint=StageConfig(0, 1, 1.0)))


def card_of(config: TrainConfig) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((Path(config.out) / "model" / "config.json").read_text())["card"]
    return card


def test_states_without_names_are_probed_by_number(write_public: Callable[..., Path], tiny: TrainConfig) -> None:
    def add_state(columns: dict[str, np.ndarray]) -> None:
        columns["state"] = np.arange(2 * len(columns["action"]), dtype=np.int64).reshape(-1, 2)

    write_public("data.h5", [70, 70, 70], add_state)
    train(tiny)
    assert set(card_of(tiny)["figures"]["probe_mlp"]) == {"state_0", "state_1"}


@pytest.mark.parametrize("removed", [("state",), ("state", "proprio")])
def test_data_without_states_gives_a_model_without_their_figures(
    write_public: Callable[..., Path], tiny: TrainConfig, removed: tuple[str, ...]
) -> None:
    config = replace(tiny, proprio="proprio" not in removed)
    write_public("data.h5", [70, 70, 70], lambda columns: [columns.pop(name, None) for name in removed] and None)
    train(config)
    model = load(Path(config.out) / "model")
    assert model.spec.proprio_dim == (0 if "proprio" in removed else 2)
    told = {"open_loop", "effective_rank"} if "proprio" in removed else {"open_loop", "effective_rank", "proprio_read"}
    assert set(card_of(config)["figures"]) == told


def test_proprioception_that_is_not_asked_for_is_not_read(write_public: Callable[..., Path], tiny: TrainConfig) -> None:
    def spoil(columns: dict[str, np.ndarray]) -> None:
        columns["proprio"] = np.full(len(columns["action"]), np.nan)

    write_public("data.h5", [70, 70, 70], spoil)
    config = replace(tiny, proprio=False)
    train(config)
    assert load(Path(config.out) / "model").spec.proprio_dim == 0


@pytest.mark.parametrize("broken", ["held_out.HeldOut.card_figures", "export.draw_curves"])
def test_the_model_is_there_though_its_figures_or_curves_fail(
    trained: TrainConfig, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    folder = Path(trained.out) / "model"
    shutil.rmtree(folder)

    def fail(*arguments: object) -> None:
        raise RuntimeError("no figures today")

    with monkeypatch.context() as patch:
        patch.setattr(f"wmplan.training.{broken}", fail)
        with pytest.raises(RuntimeError, match="no figures today"):
            train(trained)
    weights = load(folder).state_dict()
    train(trained)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in load(folder).state_dict().items())
    assert card_of(trained)["figures"]["open_loop"] and (folder / "curves.png").exists()


def test_weights_that_half_precision_cannot_hold_name_the_setting(
    trained: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(Path(trained.out) / "model")

    def with_a_large_weight(config: TrainConfig, meta: StoreMeta, model: JEPA, figures: Any) -> None:
        model.predictor.out.weight.data[0, 0] = 1e6
        export(config, meta, model, figures)

    monkeypatch.setattr("wmplan.training.train.export", with_a_large_weight)
    with pytest.raises(UserError, match="not finite, in predictor.out.weight; half=false may hold them"):
        train(replace(trained, half=True))
    train(replace(trained, half=False))
    assert load(Path(trained.out) / "model").state_dict()["predictor.out.weight"][0, 0] == 1e6


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_command_says_where_it_goes_on_and_does(
    write_public: Callable[..., Path], tmp_path: Path, number: int, status: int
) -> None:
    write_public("data.h5", [70, 70, 70])
    arguments = f"data={tmp_path}/data.h5 out={tmp_path}/run encoder.channels=[8] encoder.keypoints=4 robot_dim=0 "
    arguments += "joint.steps=100000 joint.batch_size=4 joint.save_every=100000 dynamics.batch_size=4 threads=1 "
    arguments += "critic.batch_size=4 decoder.batch_size=4"
    command = [sys.executable, "-m", "wmplan.cli", "train", *arguments.split()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        first = process.stdout.readline()  # the first figures, long before the first report
        assert first.startswith("joint ") and "loss" in first
        process.send_signal(number)
        error = process.stderr.read()
    assert process.returncode == status
    found = re.fullmatch(
        r"wmplan train: interrupted; stage joint is saved at step (\d+) of 100000, the same command goes on there\n",
        error.splitlines(keepends=True)[-1],
    )
    assert found is not None, error
    state = torch.load(tmp_path / "run" / "joint.checkpoint.pt", weights_only=True)
    assert state["step"] == int(found[1]) > 0


def test_a_strangers_format_trains_to_the_end_as_ours_does(
    tiny: TrainConfig, write_public: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    import npz_episodes

    store = EpisodeStore.open(write_public("data.h5", [70, 70, 70]))
    folder = npz_episodes.write(Path(tiny.data).parent / "theirs", [store.episode(one) for one in range(3)])
    models = [train(replace(tiny, data=data, out=f"{tiny.out}-{name}")) for name, data in
              (("ours", tiny.data), ("theirs", str(folder)))]  # fmt: skip
    for ours, theirs in zip(*(model.state_dict().values() for model in models), strict=True):
        assert torch.equal(ours, theirs)
    assert capsys.readouterr().err.count("there is no column 'state'") == 2  # once a run, at its start
    assert not any("probe" in name for name in load(f"{tiny.out}-theirs/model").card["figures"])


def test_varied_data_trains_and_the_card_says_what_varied(config: TrainConfig, tmp_path: Path) -> None:
    choice: dict[str, Any] = {"variation": ("hue", "distractors", "image_noise"), "strength": 0.5}
    collect(CollectConfig(TASK, str(tmp_path / "varied"), episodes=4, steps=60, processes=1, **choice), progress=False)
    none = StageConfig(0, 1, 1.0)
    train(replace(config, data=str(tmp_path / "varied"), critic=none, decoder=none))
    data = card_of(config)["data"]
    assert data["variation"] == ["hue", "distractors", "image_noise"] and data["strength"] == 0.5
    assert load(Path(config.out) / "model").card["data"] == data
