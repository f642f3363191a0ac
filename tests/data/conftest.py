"""Small synthetic data sets in which every number tells where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from wmplan.data.meta import DataError, StoreMeta
from wmplan.data.shard_writer import EpisodeWriter
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
            writer.save()
        meta.write(folder)
        return EpisodeStore.open(folder)

    return make


@pytest.fixture
def wild_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small file as somebody else's recorder does, and has it edited: four episodes of six rows."""

    def write(edit: Callable[[h5py.File], object] = lambda file: None, name: str = "mine.h5") -> Path:
        path = tmp_path / name
        rng = np.random.default_rng(0)
        with h5py.File(path, "w") as file:
            file["pixels"] = rng.integers(0, 256, (24, 4, 5, 3), dtype=np.uint8)
            file["action"] = rng.uniform(-1, 1, (24, 2)).astype(np.float32)
            file["state"] = rng.normal(size=(24, 3))
            file["ep_len"], file["ep_offset"] = np.full(4, 6), np.arange(4) * 6
            edit(file)
        return path

    return write


@pytest.fixture
def refusal() -> Callable[[Path], str]:
    """Opens a data set that has to be refused, and gives the one line that says why."""

    def refused(path: Path) -> str:
        with pytest.raises(DataError) as caught:
            EpisodeStore.open(path)
        message = str(caught.value)
        assert "\n" not in message
        assert path.name in message
        return message

    return refused
