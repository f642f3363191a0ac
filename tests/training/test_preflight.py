"""What can be known of a run at its start is said at its start, all at once, and nothing else is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmplan.data import EpisodeStore, WindowSampler
from wmplan.data.meta import StoreMeta
from wmplan.errors import UserError
from wmplan.models import JEPA, load, save
from wmplan.training.checks import Finding, check_lengths
from wmplan.training.config import StageConfig, TrainConfig
from wmplan.training.preflight import preflight, report, split
from wmplan.training.train import train
from wmplan.training.windows import stage_windows, validation_frames

Write = Callable[..., Path]
Columns = dict[str, np.ndarray]
GOOD = [70, 70, 70]


def examine(config: TrainConfig, **meta: Any) -> tuple[list[str], list[str], JEPA | None]:
    """Notes, what is fatal, and the model; `meta` replaces what the data says of itself."""
    store = EpisodeStore.open(config.data)
    store.meta = replace(store.meta, **meta)
    findings, model = preflight(config, store, *split(config, store))
    store.close()
    notes, fatal = ([one.message for one in findings if one.fatal is kind] for kind in (False, True))
    return notes, fatal, model


def complete(columns: Columns) -> None:
    columns["state"] = np.random.default_rng(1).normal(size=(len(columns["action"]), 3)).astype(np.float32)


TOLD = {
    "policy": "teleoperation",
    "control_rate": 20.0,
    "action_low": (-0.2, -0.2),
    "action_high": (0.2, 0.2),
}


def test_of_good_data_nothing_is_said(write_public: Write, tiny: TrainConfig) -> None:
    write_public("data.h5", GOOD, complete)
    notes, fatal, model = examine(tiny, **TOLD)
    assert (notes, fatal) == ([], [])
    assert model is not None and model.spec.control_rate == 20.0 and model.spec.action_high == (0.2, 0.2)


def test_what_a_public_file_does_not_say_is_noted_and_can_be_set(write_public: Write, tiny: TrainConfig) -> None:
    write_public("data.h5", GOOD)
    notes, fatal, _ = examine(tiny)
    assert fatal == [] and len(notes) == 3
    for text in (
        "no column 'state'",
        "does not say its control rate; 10 robot steps",
        "does not say its action bounds",
    ):
        assert any(text in note for note in notes), text
    known = replace(tiny, control_rate=25.0, action_low=(-0.5, -0.5), action_high=(0.5, 0.5))
    notes, fatal, model = examine(known)
    assert fatal == [] and len(notes) == 1
    assert model is not None
    assert (model.spec.control_rate, model.spec.action_low, model.spec.action_high) == (25.0, (-0.5,) * 2, (0.5,) * 2)


def drop(*names: str) -> Callable[[Columns], None]:
    def edit(columns: Columns) -> None:
        for name in names:
            del columns[name]

    return edit


def put(name: str, make: Callable[[Columns], np.ndarray]) -> Callable[[Columns], None]:
    def edit(columns: Columns) -> None:
        columns[name] = make(columns)

    return edit


def still(columns: Columns) -> np.ndarray:
    return np.zeros_like(columns["pixels"])


def spoilt(name: str) -> Callable[[Columns], np.ndarray]:
    def make(columns: Columns) -> np.ndarray:
        values = columns[name].copy()
        values[75] = np.nan
        return values

    return make


@pytest.mark.parametrize(
    ("edit", "change", "says"),
    [
        (drop("proprio"), {}, "no column 'proprio'.*set proprio=false"),
        (put("proprio", lambda c: c["proprio"][:, None, :]), {}, "column 'proprio' has the shape .*set proprio=false"),
        (drop("pixels"), {}, "no column 'pixels'"),
        (put("pixels", still), {}, "same picture: did the camera run"),
        (put("proprio", lambda c: np.ones_like(c["proprio"])), {}, "'proprio' is the same in every row: set proprio=f"),
        (put("proprio", spoilt("proprio")), {}, r"'proprio' is not finite in 1 rows, the first in episode 1 at step 5"),
        (put("action", lambda c: np.ones_like(c["action"])), {}, "no number of the action ever moves"),
        (None, {"action_low": (-1.0,)}, "action_low must have 2 entries as the actions, got 1"),
        (
            None,
            {"action_low": (1.0, 1.0), "action_high": (-1.0, 1.0)},
            "action_low must be finite and at most action_h",
        ),
        (None, {"action_high": (np.inf, 1.0)}, "must be finite"),
        (None, {"action_block": 40}, "stage joint needs episodes of 121 rows .*longest training episode has 70"),
        (None, {"critic": StageConfig(2, 400, 1e-3)}, r"critic.batch_size must be at most 80,.*critic.steps=0"),
        (None, {"joint": StageConfig(2, 400, 1e-3)}, r"joint.batch_size must be at most 110, .*, got 400$"),
        (None, {"encoder": "vit", "encoder_options": {"patch": 5}}, "patch is 5, it has to divide"),
        (None, {"decoder_options": {"kind": "broadcast", "cell": 3}}, "cell is 3, it has to divide"),
        (None, {"predictor": "lstm"}, "there is no predictor 'lstm'"),
        (None, {"joint_predictor": "lstm"}, "there is no predictor 'lstm'"),
        (None, {"predictor_options": {"width": 32, "depht": 1}}, "depht"),
    ],
)
def test_what_would_fail_later_is_refused_with_what_would_be_right(
    write_public: Write, tiny: TrainConfig, edit: Any, change: dict[str, Any], says: str
) -> None:
    write_public("data.h5", GOOD, edit)
    with pytest.raises(UserError, match=says):
        train(replace(tiny, **change))
    assert not Path(tiny.out).exists()  # a refused run leaves no folder behind


def test_a_missing_column_hides_nothing_else_that_is_wrong(write_public: Write, tiny: TrainConfig) -> None:
    write_public("data.h5", GOOD, drop("proprio"))
    notes, fatal, model = examine(replace(tiny, action_block=40, action_low=(-1.0,)))
    assert model is None and any("10 robot steps a second are taken" in note for note in notes)
    for says in ("no column 'proprio'", "action_low must have 2 entries", "stage joint needs episodes of 121 rows"):
        assert sum(says in one for one in fatal) == 1
    write_public("data.h5", GOOD, drop("pixels"))
    _, fatal, _ = examine(replace(tiny, action_block=40))
    assert "no column 'pixels'" in fatal[0] and any("stage joint" in one for one in fatal)


def test_images_too_small_for_the_encoder_are_refused(write_public: Write, tiny: TrainConfig) -> None:
    write_public("data.h5", GOOD, size=4)
    with pytest.raises(UserError, match="'keypoint' gives all frames of 4 x 4 pixels the same latent"):
        train(tiny)


@pytest.mark.parametrize(
    ("meta", "says"),
    [
        ({"control_rate": 0.0}, "control_rate of the data set must be above 0, got 0.0"),
        ({"control_rate": float("nan")}, "control_rate of the data set must be above 0"),
        ({"control_rate": 5.0}, "control_rate is 10, but the data was recorded at 5: it must be that, or that over"),
        (
            {"control_rate": 20.0},
            "control_rate is 10 and the data was recorded at 20: 2 of its rows become one",
        ),
        ({"action_low": ()}, "action_low must have 2 entries as the actions, got 0 in the data set's meta.json"),
    ],
)
def test_what_a_data_set_says_of_itself_has_to_be_possible(
    write_public: Write, tiny: TrainConfig, meta: dict[str, Any], says: str
) -> None:
    write_public("data.h5", GOOD)
    _, fatal, _ = examine(replace(tiny, control_rate=10.0), **meta)
    assert any(says in one for one in fatal), fatal


def test_all_that_is_wrong_is_said_at_once(write_public: Write, tiny: TrainConfig) -> None:
    def edit(columns: Columns) -> None:
        columns["pixels"] = still(columns)
        columns["proprio"] = spoilt("proprio")(columns)

    write_public("data.h5", GOOD, edit)
    with pytest.raises(UserError) as refused:
        train(replace(tiny, critic=StageConfig(2, 512, 1e-3), action_high=(0.5,)))
    line = str(refused.value)
    assert "\n" not in line and line.startswith(f"data={tiny.data} does not fit this run: (1) ")
    for text in ("same picture", "'proprio' is not finite", "critic.batch_size", "action_high must have 2 entries"):
        assert line.count(text) == 1, text


def test_regions_and_symmetries_of_a_task_do_not_stop_data_of_another_robot(
    write_public: Write, tiny: TrainConfig
) -> None:
    from wmplan.data.symmetry import Symmetry
    from wmplan.training.regions import Region

    write_public("data.h5", GOOD, complete)
    config = replace(
        tiny,
        regions={"near": Region(("block_x_m",), below=0.1), "first": Region(("state_0",), above=0.0)},
        symmetries={"turn": Symmetry("half_turn", ((-1.0, 0.0), (0.0, -1.0)), ((-1.0, 0.0), (0.0, -1.0)))},
    )
    notes, fatal, _ = examine(config, **TOLD)
    assert fatal == [] and len(notes) == 1
    assert "other states than the data's (state_0, state_1, state_2), these are left out: near" in notes[0]
    assert examine(replace(config, proprio=False), **TOLD)[1] == []
    train(config)
    write_public("data.h5", GOOD, put("action", lambda c: np.tile(c["action"], 2)))
    (fatal,) = examine(config)[1:2]
    assert fatal == ["symmetries.turn.action must be a 4 x 4 matrix, got 2 rows"]


def test_a_number_that_never_moves_is_fixed_and_said(write_public: Write, tiny: TrainConfig) -> None:
    def edit(columns: Columns) -> None:
        rows = len(columns["action"])
        columns["action"] = np.stack([columns["action"][:, 0], np.zeros(rows), np.full(rows, 0.7)], 1).astype(
            np.float32
        )
        columns["proprio"][:, 1] = 3.0

    write_public("data.h5", GOOD, edit)
    config = replace(tiny, action_low=(-1.0, -1.0, -1.0), action_high=(1.0, 1.0, 1.0))
    notes, fatal, model = examine(config)
    assert fatal == [] and model is not None
    assert sum("in every row" in note for note in notes) == 3
    assert any("action[1] is 0 in every row" in note for note in notes)
    np.testing.assert_allclose(model.spec.action_low, (-1.0, 0.0, 0.7), rtol=1e-6)
    np.testing.assert_allclose(model.spec.action_high, (1.0, 0.0, 0.7), rtol=1e-6)
    assert model.spec.action_std[1] == 1.0 and model.spec.proprio_std[1] == 1.0
    train(config)
    assert load(Path(config.out) / "model").spec == model.spec


def test_actions_outside_of_their_bounds_or_far_within_are_noted(write_public: Write, tiny: TrainConfig) -> None:
    write_public("data.h5", GOOD)
    notes, fatal, _ = examine(replace(tiny, action_low=(-0.1, -5.0), action_high=(0.2, 5.0)))
    assert fatal == []
    assert any("% of the actions lie outside of action_low=[-0.1, -5.0]" in note for note in notes)
    assert any("action[1] stays within" in note and "its bounds are -5 and 5" in note for note in notes)


def test_a_data_set_of_one_episode_is_refused(write_public: Write, tiny: TrainConfig) -> None:
    write_public("data.h5", [70])
    with pytest.raises(UserError, match="at least 2"):
        train(tiny)


@pytest.mark.parametrize("short", [0, 1, 2, 3, 4, 5])
def test_an_episode_that_is_too_short_to_be_held_out_stops_no_run(
    write_public: Write, tiny: TrainConfig, short: int
) -> None:
    lengths = [60] * 6
    lengths[short] = 8
    write_public("data.h5", lengths)
    store = EpisodeStore.open(tiny.data)
    training, held = split(tiny, store)
    assert sorted([*training, *held]) == list(range(6))
    assert store.lengths[held].max() == 60 and store.lengths[training].max() == 60
    _, fatal, _ = examine(tiny)
    assert fatal == []


def test_ragged_episodes_train_and_export(write_public: Write, tiny: TrainConfig, capsys: Any) -> None:
    write_public("data.h5", [1, 60, 3, 75, 52, 20, 64])
    train(tiny)
    assert (Path(tiny.out) / "model" / "config.json").exists()
    assert "stage critic leaves out" in capsys.readouterr().err


def test_a_pretrained_encoder_has_to_fit_the_data(write_public: Write, tiny: TrainConfig, tmp_path: Path) -> None:
    write_public("data.h5", GOOD)
    _, _, model = examine(tiny)
    assert model is not None
    save(model, tmp_path / "encoder", {})
    config = replace(tiny, pretrained=str(tmp_path / "encoder"), joint=StageConfig(0, 1, 1.0))
    assert examine(config)[1] == []
    write_public("data.h5", GOOD, size=64)
    assert "takes frames of (32, 32), the data has (64, 64)" in examine(config)[1][0]
    write_public("data.h5", GOOD, put("proprio", lambda c: np.tile(c["proprio"], 2)))
    assert (
        "reads 2 numbers of proprioception off its frames, the data has 4: set proprio=false" in examine(config)[1][0]
    )
    assert examine(replace(config, proprio=False))[1] == []


def test_a_disk_without_room_for_the_run_is_refused(
    write_public: Write, tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_public("data.h5", GOOD)
    disk = SimpleNamespace(free=1 << 14)
    monkeypatch.setattr("wmplan.training.preflight.shutil.disk_usage", lambda path: disk)
    with pytest.raises(UserError, match=r"disk with 0 MB free, the run writes at least \d+ MB: make room"):
        train(tiny)
    disk.free = 1 << 30
    train(tiny)
    disk.free = 1 << 14  # what is written already needs no more room
    train(tiny)


def test_notes_are_said_and_one_fault_has_no_number() -> None:
    said: list[str] = []
    report([Finding("a"), Finding("b")], "data.h5", said.append)
    assert said == ["note on data=data.h5: a", "note on data=data.h5: b"]
    with pytest.raises(UserError, match=r"^data=data.h5 does not fit this run: c$"):
        report([Finding("c", fatal=True)], "data.h5", said.append)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 90), min_size=2, max_size=8),
    history=st.integers(1, 3),
    rollout=st.integers(1, 3),
    block=st.integers(1, 6),
    batch=st.integers(1, 40),
    stages=st.sets(st.sampled_from(["joint", "dynamics", "critic", "decoder"]), min_size=1),
)
def test_lengths_are_refused_exactly_where_a_stage_has_no_batch_or_nothing_is_held_out(
    lengths: list[int], history: int, rollout: int, block: int, batch: int, stages: set[str]
) -> None:
    steps = {name: StageConfig(int(name in stages), batch, 1.0) for name in ("dynamics", "critic", "decoder")}
    pretrained = None if "joint" in stages else "an encoder"
    config = TrainConfig(
        "data", "out", history=history, rollout=rollout, action_block=block, pretrained=pretrained,
        joint=StageConfig(1, batch, 1.0), **steps,
    )  # fmt: skip
    rows = np.asarray(lengths)
    store = make_store(rows)
    training, held = split(config, store)
    fatal = any(finding.fatal for finding in check_lengths(config, store, training, held))

    def fails() -> bool:
        try:
            for windows in stage_windows(config):
                WindowSampler(
                    store, windows.frames, block, windows.batch_size, episodes=training, columns=(), memory=False
                )
            frames = validation_frames(config, int(rows[held].max()))
            for least in {history + 1, frames, *(history + rollout for _ in [1] if pretrained is None)}:
                WindowSampler(store, least, block, 1, episodes=held, columns=(), memory=False)
            return frames <= history or (rows[held] - history * block).clip(0).sum() < 2
        except UserError:
            return True

    if not fatal:
        assert not fails()
    elif all(windows.count(rows[training]) >= windows.batch_size for windows in stage_windows(config)):
        assert rows[held].max() < max(history * block + 2, (history + 4) * block + 1, (history + rollout) * block)


def make_store(lengths: np.ndarray) -> Any:
    meta = StoreMeta("t", 0, len(lengths), None, len(lengths), 10.0, (4, 4), (-1.0,), (1.0,))
    offsets = np.cumsum(lengths) - lengths

    class Lengths(SimpleNamespace):
        def __len__(self) -> int:
            return len(lengths)

    return Lengths(
        lengths=lengths, offsets=offsets, columns={}, num_rows=int(lengths.sum()), meta=meta, paths=["x"], decodes=False
    )


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"predictor_options": {"width": 10**7}}, "10000000"),
        ({"predictor_options": {"width": 64, "depth": 10**9}}, ""),
        ({"encoder_options": {"channels": [10**9]}}, "1000000000"),
        ({"joint_predictor": "mlp", "joint_predictor_options": {"width": 10**7}}, "10000000"),
    ],
)
def test_a_model_that_the_machine_has_no_room_for_is_said(
    write_public: Write, tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], shape: str
) -> None:
    """Before the first step, and before the machine is asked for its memory."""
    monkeypatch.setattr("wmplan.models.sizing.free_memory", lambda: 2**30)
    write_public("data.h5", GOOD, complete)
    _, fatal, model = examine(replace(tiny, **settings), **TOLD)
    assert model is None and len(fatal) == 1
    assert "no model of these settings can be trained" in fatal[0] and "1.0 GiB that are free" in fatal[0]
    assert shape in fatal[0]
