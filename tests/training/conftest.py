"""Small data sets in the public layout, and settings that train on them in a second."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from wmplan.training.config import StageConfig, TrainConfig
from wmplan.training.train import train

Columns = dict[str, NDArray[Any]]


def write_public(
    path: Path, lengths: Sequence[int], edit: Callable[[Columns], None] | None = None, seed: int = 0, size: int = 32
) -> Path:
    """An HDF5 file without meta.json or states; `edit` changes its columns, over all rows, before they are written."""
    rng, rows = np.random.default_rng(seed), int(np.sum(lengths))
    columns: Columns = {
        "pixels": rng.integers(0, 255, (rows, size, size, 3), np.uint8),
        "action": rng.uniform(-0.2, 0.2, (rows, 2)).astype(np.float32),
        "proprio": rng.normal(size=(rows, 2)).astype(np.float32),
    }
    if edit is not None:
        edit(columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file[name] = values
        file["ep_len"] = np.asarray(lengths, np.int32)
        file["ep_offset"] = np.cumsum(lengths) - np.asarray(lengths)
    return path


@pytest.fixture(name="write_public")
def write_public_fixture(tmp_path: Path) -> Callable[..., Path]:
    """write_public() into the test's folder."""

    def write(name: str, lengths: Sequence[int], *arguments: Any, **options: Any) -> Path:
        return write_public(tmp_path / name, lengths, *arguments, **options)

    return write


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, data.h5, and a finished run on it, run: to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    write_public(folder / "data.h5", [70, 70, 70])
    train(two_stages(folder))
    return folder


def two_stages(folder: Path) -> TrainConfig:
    """As tiny, without the last two stages."""
    none = StageConfig(0, 1, 1.0)
    return replace(tiny_config(folder), critic=none, decoder=none)


@pytest.fixture
def trained(finished_run: Path, tmp_path: Path) -> TrainConfig:
    """Settings of a finished run on tmp_path/data.h5, in tmp_path/run."""
    shutil.copytree(finished_run, tmp_path, dirs_exist_ok=True)
    return two_stages(tmp_path)


@pytest.fixture
def tiny(tmp_path: Path) -> TrainConfig:
    """Settings of a run of a few steps on tmp_path/data.h5, into tmp_path/run."""
    return tiny_config(tmp_path)


def tiny_config(folder: Path) -> TrainConfig:
    return TrainConfig(
        data=str(folder / "data.h5"),
        out=str(folder / "run"),
        encoder_options={"channels": [8], "keypoints": 4, "hidden": 16},
        latent_dim=6,
        robot_dim=0,
        predictor="mlp",
        predictor_options={"width": 32, "depth": 1},
        joint_predictor=None,
        critic_options={"width": 16, "embedding": 8},
        joint=StageConfig(2, 4, 1e-3),
        dynamics=StageConfig(2, 4, 1e-3),
        critic=StageConfig(2, 4, 1e-3),
        decoder=StageConfig(2, 4, 1e-3),
        threads=1,
        half=False,
    )
