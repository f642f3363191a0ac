"""The stage that trains a reader of the robot's state for goals: frames whose bright spot stands where the robot is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wmplan.data.reader import open_data
from wmplan.errors import UserError
from wmplan.models import load
from wmplan.training.config import StageConfig, TrainConfig
from wmplan.training.initial_model import initial_model
from wmplan.training.train import train

SIZE = 32


def show_robot(columns: dict[str, Any]) -> None:
    """Frames of a spot on black, at the place that proprio says: x and y from -1 to 1, over the frame."""
    rows = len(columns["proprio"])
    place = np.random.default_rng(1).uniform(-1, 1, (rows, 2)).astype(np.float32)
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, SIZE), np.linspace(-1, 1, SIZE)), -1)  # (H, W, 2) as x, y
    apart = np.square(grid - place[:, None, None]).sum(-1)  # (N, H, W)
    columns["pixels"] = np.repeat((255 * np.exp(-apart / 0.05)).astype(np.uint8)[..., None], 3, axis=-1)
    columns["proprio"] = 3.0 + 2.0 * place


@pytest.fixture
def config(write_public: Any, tiny: TrainConfig) -> TrainConfig:
    write_public("data.h5", [70, 70, 70], show_robot)
    none = StageConfig(0, 1, 1.0)
    reader = StageConfig(150, 32, 3e-3, save_every=50, optimizer="muon")
    return replace(tiny, critic=none, decoder=none, reader=reader)


def test_goals_are_read_by_it_and_what_is_measured_stays(config: TrainConfig) -> None:
    model = train(config)
    store = open_data(config.data)
    frames = torch.from_numpy(store.column("pixels", [2]))[None]
    measured = torch.from_numpy(store.column("proprio", [2]))[None]
    loaded = load(Path(config.out) / "model")
    for one, tolerance in ((model, 1e-6), (loaded, 0.05)):  # the second stored in half precision
        with torch.no_grad():
            read, given = one.encode(frames), one.encode(frames, measured)
        state = read[..., -2:] * one.proprio_std + one.proprio_mean
        assert (state - measured).abs().median() < 0.2  # of a range of 4
        torch.testing.assert_close(
            given[..., -2:] * one.proprio_std + one.proprio_mean, measured, atol=tolerance, rtol=0
        )
    misread = loaded.card["figures"]["misread_median"]
    assert set(misread) == {"1", "2"} and max(misread.values()) < 0.2
    assert (Path(config.out) / "model" / "curves.png").exists()


def test_it_is_taken_over_in_the_units_of_other_data(config: TrainConfig, write_public: Any) -> None:
    def moved(columns: dict[str, Any]) -> None:
        show_robot(columns)
        columns["proprio"] = 5.0 * columns["proprio"] - 1.0

    model = train(replace(config, reader=replace(config.reader, steps=3)))
    other = write_public("other.h5", [70, 70, 70], moved)
    folder = str(Path(config.out) / "model")
    left_out = replace(config.reader, steps=0)
    later = replace(config, data=str(other), out=config.out + "-2", pretrained=folder, reader=left_out)
    store = open_data(other)
    taken = initial_model(later, store, np.arange(2))
    frames = torch.from_numpy(store.column("pixels", [0])[:5])[None]
    for read in (lambda one: one.encode(frames)[..., -2:], lambda one: one.read_proprio(one.encode_visual(frames))):
        with torch.no_grad():
            before, after = (read(one) * one.proprio_std + one.proprio_mean for one in (model, taken))
        torch.testing.assert_close(after, before, atol=0.02, rtol=0)


def test_a_robot_without_proprioception_has_nothing_to_read(config: TrainConfig) -> None:
    with pytest.raises(UserError, match=r"reader.steps must be 0 with proprio=false"):
        replace(config, proprio=False)
