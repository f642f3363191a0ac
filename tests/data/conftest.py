"""Small synthetic data sets in which every number tells where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from wmplan.data.meta import StoreMeta
from wmplan.data.shard import EpisodeWriter
from wmplan.data.store import EpisodeStore, shard_path

TASK = "test:Synthetic-v0"


def synthetic_episode(episode: int, rows: int) -> dict[str, NDArray[Any]]:
    """Columns whose entries spell out episode and step; NaN action in the last row."""
    step = np.arange(rows)
    pixels = np.zeros((rows, 4, 5, 3), np.uint8)
    pixels[:, 0, 0] = np.stack([np.full(rows, episode), step, step + 100], axis=-1)
    action = np.stack([np.full(rows, episode), step], axis=-1).astype(np.float32)
    action[-1] = np.nan
    proprio = np.stack([step, -step, np.full(rows, episode)], axis=-1).astype(np.float32)
    return {
        "pixels": pixels,
        "action": action,
        "proprio": proprio,
        "state": proprio[:, :2] / 7,
        "physics_state": np.random.default_rng(episode).normal(size=(rows, 6)),
    }


@pytest.fixture
def episode_columns() -> Callable[[int, int], dict[str, NDArray[Any]]]:
    return synthetic_episode


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., EpisodeStore]:
    def make(
        lengths: Sequence[int], per_shard: int = 3, edit: Callable[[int, dict[str, NDArray[Any]]], None] | None = None
    ) -> EpisodeStore:
        meta = StoreMeta(
            task=TASK,
            seed=0,
            episodes=len(lengths),
            steps=None,
            episodes_per_shard=per_shard,
            control_rate=10.0,
            image_size=(4, 5),
            action_low=(-1.0, -1.0),
            action_high=(1.0, 1.0),
        )
        folder = tmp_path / "data"
        (folder / "shards").mkdir(parents=True)
        for shard in range(meta.num_shards):
            writer = EpisodeWriter(shard_path(folder, shard))
            for episode in meta.shard_episodes(shard):
                columns = synthetic_episode(episode, lengths[episode])
                if edit is not None:
                    edit(episode, columns)
                writer.add(episode, columns)
            writer.finish()
        meta.write(folder)
        return EpisodeStore.open(folder)

    return make
