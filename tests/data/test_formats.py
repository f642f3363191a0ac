from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from wmplan.data.meta import DataError
from wmplan.data.sampler import WindowSampler
from wmplan.data.shard_writer import link_shards
from wmplan.data.store import EpisodeStore

LENGTHS = (11, 6, 9)


def foreign_file(path: Path, *, channels_first: bool, seed: int = 0) -> dict[str, Any]:
    """A file as a recorder other than ours writes it: float64, `ep_idx`, text, and nothing of proprioception."""
    rng = np.random.default_rng(seed)
    rows = sum(LENGTHS)
    action = rng.normal(size=(rows, 2))
    action[np.cumsum(LENGTHS) - 1] = np.nan
    columns = {
        "pixels": rng.integers(0, 256, (rows, 8, 10, 3), dtype=np.uint8),
        "action": action,
        "state": rng.normal(size=(rows, 5)),
        "step_idx": np.concatenate([np.arange(length) for length in LENGTHS]),
        "ep_idx": np.repeat(np.arange(3), LENGTHS),
    }
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            stored = np.moveaxis(values, -1, 1) if name == "pixels" and channels_first else values
            file.create_dataset(name, data=stored, chunks=(1, *stored.shape[1:]))
        file["env_name"] = np.array([b"PushT"] * rows, dtype=h5py.string_dtype())
        file["ep_len"] = np.array(LENGTHS, np.int32)
        file["ep_offset"] = (np.cumsum(LENGTHS) - LENGTHS).astype(np.int64)
    return columns


@pytest.mark.parametrize("channels_first", [True, False])
def test_a_public_file_reads_as_any_store(tmp_path: Path, channels_first: bool) -> None:
    columns = foreign_file(tmp_path / "pusht.h5", channels_first=channels_first)
    store = EpisodeStore.open(tmp_path / "pusht.h5", task="swm/PushT-v1")
    assert store.lengths.tolist() == list(LENGTHS)
    assert store.meta.image_size == (8, 10)
    np.testing.assert_array_equal(store.episode(1)["pixels"], columns["pixels"][11:17])
    np.testing.assert_array_equal(store.column("state"), columns["state"])
    np.testing.assert_allclose(store.meta.action_low, np.nanmin(columns["action"], axis=0))
    np.testing.assert_allclose(store.meta.action_high, np.nanmax(columns["action"], axis=0))
    batch = next(iter(WindowSampler(store, 2, 3, 4, columns=("pixels", "action", "state"))))
    assert batch["pixels"].shape == (4, 2, 8, 10, 3)
    assert batch["action"].shape == (4, 1, 6)
    assert batch["action"].dtype == batch["state"].dtype == torch.float32


def test_a_folder_of_public_files_is_one_data_set(tmp_path: Path) -> None:
    first = foreign_file(tmp_path / "a.h5", channels_first=False, seed=1)
    second = foreign_file(tmp_path / "b.hdf5", channels_first=False, seed=2)
    store = EpisodeStore.open(tmp_path)
    assert len(store) == 6
    np.testing.assert_array_equal(store.column("action"), np.concatenate([first["action"], second["action"]]))


def test_a_file_whose_columns_end_early_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pusht.h5"
    foreign_file(path, channels_first=False)
    with h5py.File(path, "r+") as file:
        short = file["state"][:20]
        del file["state"]
        file["state"] = short
    with pytest.raises(DataError, match="column 'state' has 20 rows, its episodes need 26"):
        EpisodeStore.open(path)


def test_files_of_different_columns_are_refused(tmp_path: Path) -> None:
    foreign_file(tmp_path / "a.h5", channels_first=False)
    foreign_file(tmp_path / "b.h5", channels_first=False)
    with h5py.File(tmp_path / "b.h5", "r+") as file:
        del file["state"]
    with pytest.raises(DataError, match=r"b\.h5 has other columns than"):
        EpisodeStore.open(tmp_path)


def test_the_link_shows_all_shards_as_one_file(make_store: Callable[..., EpisodeStore]) -> None:
    store = make_store(LENGTHS, per_shard=2)
    path = store.paths[0].parent.parent / "episodes.h5"
    link_shards(path, store.paths)
    linked = EpisodeStore([path], store.meta)
    assert linked.lengths.tolist() == list(LENGTHS)
    for name in store.columns:
        np.testing.assert_array_equal(linked.column(name), store.column(name))


# ---------------------------------------------------------------------- against the published package


@pytest.fixture
def peer() -> Callable[..., Any]:
    """Runs a script in the Python that WMPLAN_PEER_PYTHON names, which has stable-worldmodel; it prints JSON."""
    python = os.environ.get("WMPLAN_PEER_PYTHON")
    if not python:
        pytest.skip("WMPLAN_PEER_PYTHON names no Python with stable-worldmodel")

    def run(script: str, *arguments: object) -> Any:
        done = subprocess.run(
            [python, "-c", script, *map(str, arguments)], capture_output=True, text=True, timeout=1200
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


READ_OURS = """
import json, sys
from stable_worldmodel.data import HDF5Dataset
data = HDF5Dataset(path=sys.argv[1], frameskip=2, num_steps=3)
last = data[len(data) - 1]
rows = data.load_episode(2)
print(json.dumps({
    "windows": len(data), "columns": sorted(data.column_names),
    "action": last["action"].tolist(), "pixels": last["pixels"].tolist(), "proprio": last["proprio"].tolist(),
    "episode": data.get_col_data("episode_idx").tolist(), "rows": len(rows["action"]),
}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("which", ["linked", "shard"])
def test_the_published_package_reads_our_data(
    make_store: Callable[..., EpisodeStore], peer: Callable, which: str
) -> None:
    store = make_store(LENGTHS, per_shard=3 if which == "shard" else 2)
    path = store.paths[0]
    if which == "linked":
        path = path.parent.parent / "episodes.h5"
        link_shards(path, store.paths)
    seen = peer(READ_OURS, path)
    assert seen["windows"] == sum(length - 6 + 1 for length in LENGTHS)
    assert seen["columns"] == sorted(store.columns)
    assert seen["episode"] == store.column("episode_idx").tolist()
    assert seen["rows"] == LENGTHS[2]
    window = store.episode(2, None, 3, 9)  # the last window of three steps of two rows
    assert seen["proprio"] == window["proprio"][::2].tolist()
    assert seen["pixels"] == np.moveaxis(window["pixels"][::2], -1, 1).tolist()
    np.testing.assert_array_equal(seen["action"], window["action"].reshape(3, 4))


WRITE_THEIRS = """
import json, sys
import numpy as np
from stable_worldmodel.data import HDF5Writer
rng = np.random.default_rng(0)
episodes = []
with HDF5Writer(sys.argv[1], mode="overwrite") as writer:
    for length in (9, 12):
        episode = {
            "pixels": rng.integers(0, 256, (length, 6, 7, 3), dtype=np.uint8),
            "action": rng.normal(size=(length, 2)).astype(np.float32),
            "proprio": rng.normal(size=(length, 4)),
            "step_idx": np.arange(length),
        }
        episode["action"][-1] = np.nan
        writer.write_episode({name: list(values) for name, values in episode.items()})
        episodes.append({name: np.nan_to_num(values).tolist() for name, values in episode.items()})
print(json.dumps(episodes))
"""


@pytest.mark.slow
def test_we_read_what_the_published_package_writes(tmp_path: Path, peer: Callable) -> None:
    episodes = peer(WRITE_THEIRS, tmp_path / "theirs.h5")
    store = EpisodeStore.open(tmp_path / "theirs.h5")
    assert len(store) == len(episodes)
    for index, expected in enumerate(episodes):
        read = store.episode(index)
        for name, values in expected.items():
            np.testing.assert_array_equal(np.nan_to_num(read[name]), np.asarray(values, read[name].dtype))
    assert next(iter(WindowSampler(store, 3, 2, 4)))["action"].shape == (4, 2, 4)
