"""What a model is told of its actions: kinds, bounds, normalisers, and a rate below that of the data."""

from __future__ import annotations

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
from wmplan.models import load
from wmplan.serving.metadata import make_metadata
from wmplan.training.action_statistics import ActionStatistics, action_statistics
from wmplan.training.config import StageConfig, TrainConfig
from wmplan.training.train import train

POSE = ("absolute", "absolute", "absolute", "rotation_6d", "gripper")
Write = Callable[..., Path]


def poses(columns: dict[str, Any]) -> None:
    """Actions that are poses near one place, and a gripper of 0 and 0.08."""
    rng, rows = np.random.default_rng(3), len(columns["action"])
    first, second = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    axes = [axis + 0.2 * rng.normal(size=(rows, 3)) for axis in (first, second)]
    axes[0] /= np.linalg.norm(axes[0], axis=1, keepdims=True)
    axes[1] -= (axes[0] * axes[1]).sum(1, keepdims=True) * axes[0]
    axes[1] /= np.linalg.norm(axes[1], axis=1, keepdims=True)
    place = [0.5, -0.1, 0.3] + 0.1 * rng.normal(size=(rows, 3))
    grip = 0.08 * (rng.random((rows, 1)) < 0.5)
    columns["action"] = np.concatenate([place, *axes, grip], axis=1).astype(np.float32)


def statistics(config: TrainConfig) -> ActionStatistics:
    store = open_data(config.data)
    return action_statistics(config, store, np.arange(len(store)))


def test_normalisers_are_by_kind(write_public: Write, tiny: TrainConfig) -> None:
    write_public("data.h5", [70, 70, 70], poses)
    actions = open_data(tiny.data).column("action").astype(np.float64)
    found = statistics(replace(tiny, action_kind=POSE))
    np.testing.assert_allclose(found.mean[:9], actions.mean(0)[:9])
    np.testing.assert_allclose(found.std[:9], actions.std(0)[:9], atol=2e-6)
    normalised = (actions[:, 9] - found.mean[9]) / found.std[9]
    assert sorted(set(np.round(normalised, 6))) == [-1.0, 1.0]
    plain = statistics(tiny)  # nothing said: a null action stays null
    assert not plain.mean.any()
    np.testing.assert_allclose(plain.std, np.sqrt((actions**2).mean(0)), atol=2e-6)
    with pytest.raises(UserError, match=r"action\[0\] has \d+ values from .* a gripper has two"):
        statistics(replace(tiny, action_kind=("gripper", *POSE[1:])))
    with pytest.raises(UserError, match="one for each of the action's 10 numbers"):
        statistics(replace(tiny, action_kind=POSE[1:]))


def test_bounds_are_the_datas_quantiles_or_given(write_public: Write, tiny: TrainConfig) -> None:
    write_public("data.h5", [70, 70, 70], poses)
    actions = open_data(tiny.data).column("action").astype(np.float64)
    config = replace(tiny, action_kind=POSE)
    by_data = statistics(replace(config, action_bounds="data"))
    np.testing.assert_allclose(by_data.low, actions.min(0))
    narrow = statistics(replace(config, action_bounds="quantiles"))
    inside = ((actions >= narrow.low) & (actions <= narrow.high)).mean(0)
    assert (inside[:9] > 0.97).all() and (inside[:9] < 0.99).all() and inside[9] == 1
    assert (narrow.low[9], narrow.high[9]) == pytest.approx((0, 0.08))
    low, high = (-2.0,) * 10, (2.0,) * 10
    given = statistics(replace(config, action_bounds="given", action_low=low, action_high=high))
    assert given.low[:9].tolist() == list(low[:9]) and given.high[9] == pytest.approx(0.08)
    shut = statistics(replace(config, action_low=low, action_high=(*high[:9], 0.01)))
    assert shut.low[9] == shut.high[9] == 0  # the robot may not open it
    for wrong, says in (
        ({"action_bounds": "given", "action_low": low}, "action_low and action_high must be set"),
        ({"action_bounds": "quantiles", "action_high": high}, "action_bounds is quantiles: leave out action_high"),
        ({"action_kind": ("speed",)}, "action_kind must be of velocity"),
    ):
        with pytest.raises(UserError, match=says):
            replace(config, **wrong)


def test_a_model_of_poses_recorded_three_times_as_fast(
    write_public: Write, tiny: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_public("data.h5", [160, 160, 160], poses)
    none = StageConfig(0, 1, 1.0)
    rates = {"control_rate": 10.0, "data_rate": 30.0}
    config = replace(tiny, action_kind=POSE, action_bounds="quantiles", critic=none, decoder=none, **rates)
    with pytest.raises(UserError, match="3 of its rows become one, so that action_kind must say"):
        train(replace(config, action_kind=()))
    train(config)
    said = capsys.readouterr().err
    assert "30 rows a second, of which every 3rd is taken" in said and "bounds (quantiles) are [" in said
    model: Any = load(tmp_path / "run" / "model")
    spec, card = model.spec, model.card
    assert spec.control_rate == 10 and spec.action_kinds == ("absolute",) * 3 + ("rotation_6d",) * 6 + ("gripper",)
    assert card["actions"]["bounds"] == "quantiles" and card["actions"]["low"] == list(spec.action_low)
    assert (card["data"]["rows_to_one"], card["data"]["episodes"]) == (3, 3)
    actions = open_data(config.data).column("action")
    rows = open_data(config.data).episode(0)
    controller = make_controller(model, planner="realtime")
    controller.reset(rows["pixels"][90], seeds=0)
    sent = controller.act({"pixels": rows["pixels"][0], "proprio": rows["proprio"][0]})
    assert np.float32(sent[9]) in actions[:, 9]
    first, second = sent[3:6], sent[6:9]
    assert abs(first @ second) < 0.1 and abs(np.linalg.norm(first) - 1) < 0.1  # bounds have the last word
    still = model.window(torch.zeros(1, 1, *spec.latent_shape), None)[1].unflatten(-1, (-1, 10))
    torch.testing.assert_close(still[..., :9], torch.zeros_like(still[..., :9]))  # told the mean, not to go to zero
    assert (still[..., 9] == -1).all()


def test_what_measures_a_position_is_found_in_the_data(write_public: Write, tiny: TrainConfig, tmp_path: Path) -> None:
    def arm(columns: dict[str, Any]) -> None:
        """Two joints that follow what they are told a row later, a gripper that nothing measures, and a velocity."""
        rng, rows = np.random.default_rng(3), len(columns["action"])
        told = np.cumsum(rng.normal(0, 0.05, (rows, 2)), 0)
        there = np.concatenate([told[:1], told[:-1]]) + rng.normal(0, 0.01, (rows, 2))
        grip, speed = 0.08 * (rng.random((rows, 1)) < 0.5), rng.normal(size=(rows, 1))
        columns["action"] = np.concatenate([told, grip, speed], 1).astype(np.float32)
        columns["proprio"] = np.concatenate([speed, there[:, 1:], 10 + there[:, :1], there[:, :1]], 1).astype(
            np.float32
        )

    write_public("data.h5", [70, 70, 70], arm)
    kinds = ("absolute", "absolute", "gripper", "velocity")
    assert statistics(replace(tiny, action_kind=kinds)).measured == (3, 1, None, None)
    assert statistics(replace(tiny, action_kind=("velocity",))).measured == ()
    assert statistics(replace(tiny, action_kind=kinds, proprio=False)).measured == ()
    none = StageConfig(0, 1, 1.0)
    train(replace(tiny, action_kind=kinds, critic=none, decoder=none))
    model = load(tmp_path / "run" / "model")
    assert model.spec.action_measured == (3, 1, None, None)
    assert model.card["actions"]["measured"] == [3, 1, None, None]
    told = make_metadata(model.spec, model.card, 5, 1)
    assert told["action_kinds"] == list(kinds) and told["action_measured"] == [3, 1, None, None]
