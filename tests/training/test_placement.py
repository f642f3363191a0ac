"""The stage that puts the robot of a latent elsewhere: a block and a robot, each a bright spot, one of which moves."""

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
from wmplan.training.placement import pairs_alike
from wmplan.training.train import train

SIZE = 32


def frame(robot: tuple[int, int], block: tuple[int, int]) -> torch.Tensor:
    """A robot of 2 x 2 pixels and a block of 6 x 6 on black, by their upper left corners."""
    picture = torch.zeros(SIZE, SIZE, 3, dtype=torch.uint8)
    for (row, column), size, level in ((robot, 2, 200), (block, 6, 120)):
        picture[row : row + size, column : column + size] = level
    return picture


def test_pairs_are_those_in_which_only_the_robot_moved() -> None:
    window = [frame((3, 3), (20, 20)), frame((9, 5), (20, 20)), frame((9, 5), (16, 14)), frame((1, 7), (16, 14))]
    noise = torch.randint(0, 3, (1, 4, SIZE, SIZE, 3), dtype=torch.uint8)
    pairs = pairs_alike([torch.stack(window)[None] + noise], share=8 / SIZE**2)
    assert pairs.tolist() == [[0, 0, 1], [0, 2, 3]]


def test_every_camera_has_to_show_it() -> None:
    still = torch.stack([frame((3, 3), (20, 20))] * 2)[None]
    moved = torch.stack([frame((3, 3), (20, 20)), frame((3, 3), (10, 20))])[None]
    assert len(pairs_alike([still, still], share=0.01)) == 1
    assert len(pairs_alike([still, moved], share=0.01)) == 0


def play(columns: dict[str, Any]) -> None:
    """The robot goes anywhere at each row; the block every 40 rows."""
    rng, rows = np.random.default_rng(1), len(columns["proprio"])
    robots, blocks = rng.integers(0, SIZE - 2, (rows, 2)), rng.integers(0, SIZE - 6, (rows, 2))
    frames = [frame(tuple(robots[row]), tuple(blocks[row // 40])) for row in range(rows)]
    columns["pixels"] = torch.stack(frames).numpy()
    columns["proprio"] = robots.astype(np.float32)


@pytest.fixture
def config(write_public: Any, tiny: TrainConfig) -> TrainConfig:
    write_public("data.h5", [80] * 12, play)
    none = StageConfig(0, 1, 1.0)
    placement = StageConfig(300, 32, 3e-3, save_every=150)
    return replace(tiny, dynamics=none, critic=none, decoder=none, placement=placement, placement_pixels=8 / SIZE**2)


def test_latents_are_put_where_frames_of_it_are(config: TrainConfig) -> None:
    trained = train(config)
    loaded = load(Path(config.out) / "model")
    figures = loaded.card["figures"]
    assert figures["robot_placed_median"] < 0.85 * figures["robot_moved_median"]
    assert 0.5 < figures["robot_moved_alone"] < 1.0
    assert (Path(config.out) / "model" / "curves.png").exists()
    latents, states = torch.randn(3, *trained.spec.latent_shape), torch.randn(3, 2)
    for model, tolerance in ((trained, 0.0), (loaded, 0.02)):  # the second stored in half precision
        with torch.no_grad():
            moved = model.with_robot_at(latents, states)
        assert torch.equal(moved[:, -2:], states)
        with torch.no_grad():
            torch.testing.assert_close(moved, trained.with_robot_at(latents, states), atol=tolerance, rtol=tolerance)


def test_data_in_which_the_robot_never_moves_alone_is_refused_before_training(config: TrainConfig) -> None:
    with pytest.raises(UserError, match=r"placement_pixels.*placement.steps=0"):
        train(replace(config, placement_pixels=1e-6))


def test_a_robot_without_proprioception_is_nowhere(config: TrainConfig) -> None:
    with pytest.raises(UserError, match=r"placement.steps must be 0 with proprio=false"):
        replace(config, proprio=False)
