"""The stage that learns what hidden things are like: a block that drifts, behind strips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wmplan.errors import UserError
from wmplan.models import load
from wmplan.training.config import StageConfig, TrainConfig
from wmplan.training.memory import OPEN, hidden_frames
from wmplan.training.train import train

SIZE = 32
NONE = StageConfig(0, 1, 1.0)


def test_every_interval_is_hidden_and_some_windows_stay_open() -> None:
    hidden = hidden_frames(4000, 5, torch.Generator().manual_seed(0))
    assert hidden.shape == (4000, 5)
    turns = (hidden[:, 1:] != hidden[:, :-1]).sum(1) + hidden[:, 0].int() + hidden[:, -1].int()
    assert set(turns.tolist()) == {0, 2}  # one interval of each, or none
    assert abs((turns == 0).float().mean() - OPEN) < 0.03
    drawn = {tuple(row) for row in hidden.tolist()}
    assert len(drawn) == 1 + sum(5 - length + 1 for length in range(1, 5))  # all but the whole window


def play(columns: dict[str, Any]) -> None:
    """A block goes straight on, whatever the actions are."""
    rng, rows = np.random.default_rng(1), len(columns["proprio"])
    frames = np.zeros((rows, SIZE, SIZE, 3), np.uint8)
    for begin in range(0, rows, 40):
        place, way = rng.uniform(4, 22, 2), rng.uniform(-0.3, 0.3, 2)
        for step in range(40):
            row, column = np.clip(place + step * way, 0, SIZE - 6).astype(int)
            frames[begin + step, row : row + 6, column : column + 6] = 220
    columns["pixels"] = frames
    columns["proprio"] = np.zeros((rows, 2), np.float32) + rng.normal(0, 0.1, (rows, 2)).astype(np.float32)


@pytest.fixture
def first(write_public: Any, tiny: TrainConfig) -> TrainConfig:
    write_public("data.h5", [40] * 20, play)
    joint, dynamics = replace(tiny.joint, steps=150, batch_size=16), replace(tiny.dynamics, steps=200, batch_size=32)
    config = replace(tiny, joint=joint, dynamics=dynamics, critic=NONE, decoder=NONE)
    train(config)
    return config


@pytest.fixture
def config(first: TrainConfig) -> TrainConfig:
    memory = StageConfig(150, 32, 3e-3, save_every=150)
    return replace(
        first,
        out=f"{first.out}_memory",
        pretrained=f"{first.out}/model",
        history=5,
        memory=memory,
        dynamics=NONE,
    )


def test_hidden_frames_are_believed_nearer_to_what_is_there_than_they_are_seen(config: TrainConfig) -> None:
    trained = train(config)
    loaded = load(Path(config.out) / "model")
    figures = loaded.card["figures"]
    assert figures["hidden_1_believed"] < 0.8 * figures["hidden_1_seen"]
    assert figures["hidden_3_believed"] < 0.9 * figures["hidden_3_seen"]
    assert (Path(config.out) / "model" / "curves.png").exists()
    before = load(Path(str(config.pretrained)))
    assert loaded.spec.history == 5 and before.spec.history == 2
    for name, tensor in before.state_dict().items():  # all else is as it was
        torch.testing.assert_close(trained.state_dict()[name], tensor, msg=name)
    same = replace(config, out=f"{config.out}_again")
    for one, other in zip(train(same).parameters(), trained.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_model_with_a_memory_keeps_it_under_later_stages(config: TrainConfig) -> None:
    trained = train(config)
    later = replace(
        config,
        out=f"{config.out}_later",
        pretrained=f"{config.out}/model",
        memory=NONE,
        decoder=replace(NONE, steps=2, batch_size=8),
    )
    found = train(later)
    assert found.memory is not None and found.predictor.history == 2 and found.decoder is not None
    context, actions, past = (
        torch.randn(1, 4, *found.spec.latent_shape),
        torch.randn(1, 3, 2, found.spec.block_dim),
        torch.randn(1, 3, found.spec.block_dim),
    )
    with torch.no_grad():
        torch.testing.assert_close(
            found.rollout(context, actions, past), trained.rollout(context, actions, past), atol=2e-2, rtol=2e-2
        )
    load(Path(later.out) / "model")


def test_a_predictor_that_is_trained_at_once_is_refused(tiny: TrainConfig) -> None:
    with pytest.raises(UserError, match=r"memory.steps needs a predictor that stays as it is"):
        replace(tiny, memory=StageConfig(10, 8, 1e-3))


@pytest.fixture
def remembering(write_public: Any, tiny: TrainConfig) -> TrainConfig:
    """Settings of a run on a model with a memory of five frames; nothing in it learnt much."""
    write_public("data.h5", [60] * 8, play)
    train(tiny := replace(tiny, critic=NONE, decoder=NONE, validation=0.3))
    first = f"{tiny.out}/model"
    config = replace(tiny, out=f"{tiny.out}_memory", pretrained=first, joint=NONE, dynamics=NONE)
    train(config := replace(config, memory=StageConfig(2, 4, 1e-3), history=5))
    return replace(config, out=f"{config.out}_later", pretrained=f"{config.out}/model", memory=NONE)


def test_a_predictor_that_is_trained_on_goes_without_its_memory(remembering: TrainConfig) -> None:
    """It looks at as many frames as it did; the memory's were more."""
    tuned = replace(remembering, dynamics=StageConfig(2, 8, 1e-3), fine_tune=True)
    with pytest.raises(UserError, match=r"the predictor of .*, whose history is 2, not 5"):
        train(tuned)
    trained = train(replace(tuned, history=2))
    assert trained.memory is None and trained.predictor.history == trained.spec.history == 2
    load(Path(tuned.out) / "model")


def test_latents_that_are_trained_on_go_without_the_memory(remembering: TrainConfig) -> None:
    joint = StageConfig(2, 4, 1e-3)
    assert train(replace(remembering, joint=joint, train_encoder=True, history=2)).memory is None


def test_a_history_that_a_memory_cannot_learn_from_is_named(remembering: TrainConfig) -> None:
    with pytest.raises(UserError, match="history must be at least 2 with memory.steps, got 1"):
        train(replace(remembering, memory=StageConfig(2, 4, 1e-3), history=1))
