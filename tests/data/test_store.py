from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from wmplan.data.meta import DataError, StoreMeta
from wmplan.data.shard import Shard
from wmplan.data.shard_writer import EpisodeWriter, link_shards
from wmplan.data.store import EpisodeStore

LENGTHS = (7, 4, 9, 5, 6, 8, 3)
Make = Callable[..., EpisodeStore]


def test_reads_back_what_was_written(make_store: Make, episode_columns: Callable) -> None:
    store = make_store(LENGTHS)
    assert len(store) == len(LENGTHS)
    assert store.lengths.tolist() == list(LENGTHS)
    assert store.offsets.tolist() == [0, 7, 11, 20, 25, 31, 39]
    for index, rows in enumerate(LENGTHS):
        read = store.episode(index)
        for name, values in episode_columns(index, rows).items():
            assert read[name].dtype == values.dtype
            np.testing.assert_array_equal(read[name], values)
        assert read["episode_idx"].tolist() == [index] * rows
        assert read["step_idx"].tolist() == list(range(rows))


def test_a_public_file_with_frames_of_several_cameras(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    top, wrist = rng.integers(0, 255, (7, 6, 8, 3), np.uint8), rng.uniform(size=(7, 3, 6, 8)).astype(np.float32)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["action"], file["top"], file["wrist"] = np.zeros((7, 2), np.float32), top, wrist
        file["ep_len"], file["ep_offset"] = np.array([4, 3]), np.array([0, 4])
    found = EpisodeStore.open(tmp_path / "data.h5", cameras=["wrist", "top"])
    assert found.columns["wrist"] == found.columns["top"] == ((6, 8, 3), np.uint8)
    np.testing.assert_array_equal(found.episode(1)["top"], top[4:])
    as_bytes = np.round(np.moveaxis(wrist, 1, -1) * 255).astype(np.uint8)
    np.testing.assert_array_equal(found.column("wrist"), as_bytes)
    one = EpisodeStore.open(tmp_path / "data.h5", camera="wrist")
    np.testing.assert_array_equal(one.episode(0)["pixels"], as_bytes[:4])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(one)).episode(0)["pixels"], as_bytes[:4])


def test_reads_a_part_of_an_episode(make_store: Make) -> None:
    store = make_store(LENGTHS)
    part = store.episode(4, ("action",), 1, 3)
    assert list(part) == ["action"]
    assert part["action"].tolist() == [[4, 1], [4, 2]]


def test_a_column_is_the_episodes_in_order(make_store: Make) -> None:
    store = make_store(LENGTHS)
    expected = np.concatenate([np.full(rows, index) for index, rows in enumerate(LENGTHS)])
    np.testing.assert_array_equal(store.column("episode_idx"), expected)
    assert store.column("episode_idx", [5, 1]).tolist() == [5] * 8 + [1] * 4


def test_more_shards_than_open_files(make_store: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wmplan.data.store.OPEN_SHARDS", 2)
    store = make_store([3] * 9, per_shard=1)
    assert store.column("episode_idx", reversed(range(9))).tolist() == np.repeat(np.arange(8, -1, -1), 3).tolist()
    assert len(store._open) <= 2


def test_travels_to_another_process(make_store: Make) -> None:
    store = make_store(LENGTHS)
    copy = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(copy.column("action"), store.column("action"))


def test_a_truncated_shard_is_named(make_store: Make) -> None:
    store = make_store(LENGTHS)
    path = store.paths[1]
    store.close()
    content = path.read_bytes()
    for size in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(DataError, match=r"00001\.h5 is cut short"):
            EpisodeStore.open(path.parent.parent)


def test_flipped_bytes_are_noticed(make_store: Make) -> None:
    store = make_store([50])
    path = store.paths[0]
    store.close()
    with h5py.File(path) as file:
        where = file["physics_state"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[where + 40] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"00000\.h5 is damaged: column 'physics_state'"):
        EpisodeStore.open(path.parent.parent).column("physics_state")


def test_a_missing_shard_is_counted(make_store: Make) -> None:
    store = make_store(LENGTHS)
    store.paths[1].unlink()
    folder = store.paths[0].parent.parent
    with pytest.raises(DataError, match="2 of 3 shards"):
        EpisodeStore.open(folder)
    assert len(EpisodeStore.open(folder, partial=True)) == 4


def test_a_data_set_of_another_task_is_refused(make_store: Make) -> None:
    folder = make_store(LENGTHS).paths[0].parent.parent
    assert len(EpisodeStore.open(folder, task="test:Synthetic-v0")) == 7
    with pytest.raises(DataError, match="is of the task test:Synthetic-v0, not of wmplan/PushT-v0"):
        EpisodeStore.open(folder, task="wmplan/PushT-v0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"format": "wmplan-episodes", "control_rate": NaN}', "not valid JSON"),
        ("[]", "does not describe"),
        (json.dumps({"format": "other"}), "does not describe"),
        (json.dumps({"format": "wmplan-episodes", "format_version": 9}), "version"),
        (json.dumps({"format": "wmplan-episodes", "format_version": 1, "speed": 1}), "wrong or missing entries"),
        (json.dumps({"format": "wmplan-episodes", "format_version": 1, "sha256": 3}), "is not what was written"),
    ],
)
def test_a_wrong_meta_gets_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "meta.json").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        EpisodeStore.open(tmp_path)
    assert "\n" not in str(caught.value)


def test_meta_survives_the_disk(make_store: Make) -> None:
    store = make_store(LENGTHS)
    assert StoreMeta.read(store.paths[0].parent.parent) == store.meta


def test_a_meta_of_an_older_version_without_a_check_still_loads(make_store: Make) -> None:
    store = make_store(LENGTHS)
    path = store.paths[0].parent.parent / "meta.json"
    document = json.loads(path.read_text())
    del document["sha256"]
    path.write_text(json.dumps(document))
    assert StoreMeta.read(path.parent) == store.meta
    for key, value in (("episodes", "seven"), ("episodes", 0), ("action_low", [None]), ("image_size", [1])):
        path.write_text(json.dumps({**document, key: value}))
        with pytest.raises(DataError, match="wrong"):
            EpisodeStore.open(path.parent)


def test_no_data_set_here(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match="is no data set"):
            EpisodeStore.open(path)


def test_the_writer_refuses_what_is_not_finite(tmp_path: Path, episode_columns: Callable) -> None:
    for name in ("action", "state", "physics_state", "proprio"):
        columns = episode_columns(0, 6)
        columns[name][4, 1] = np.inf
        with pytest.raises(DataError, match=f"{name} of episode 12 at step 4 is not finite"):
            EpisodeWriter(tmp_path / "0.h5").add(12, columns)
    assert not list(tmp_path.iterdir())


def test_a_foreign_store_with_nan_is_named(make_store: Make) -> None:
    store = make_store(LENGTHS)
    path = store.paths[1]
    store.check_finite()
    store.close()
    with h5py.File(path, "r+") as file:
        file["state"][6, 0] = np.nan  # the shard's episodes are 3, 4, 5 with 5, 6, 8 rows
    with pytest.raises(DataError, match=r"state of episode 4 at step 1 is not finite"):
        EpisodeStore.open(path.parent.parent).check_finite()


def test_an_hdf5_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["observations"] = np.zeros(3)
    with pytest.raises(DataError, match="no column 'ep_len'"):
        Shard(path)


def test_the_files_behind_a_link_are_named(make_store: Make) -> None:
    store = make_store(LENGTHS)
    path = store.paths[0].parent.parent / "episodes.h5"
    link_shards(path, store.paths)
    assert store.files == store.paths
    assert EpisodeStore.open(path).files == [path, *store.paths]


@pytest.mark.parametrize("read_bytes", [1, 40, 1 << 20])
def test_a_column_is_the_same_however_much_is_read_at_once(
    make_store: Make, monkeypatch: pytest.MonkeyPatch, read_bytes: int
) -> None:
    monkeypatch.setattr("wmplan.data.store.READ_BYTES", read_bytes)
    store = make_store(LENGTHS)
    for chosen in ([0, 1, 2, 3], [2, 3, 4], [6, 5, 0], [1, 1], []):
        expected = [step for index in chosen for step in range(LENGTHS[index])]
        assert store.column("step_idx", chosen).tolist() == expected
        assert (
            store.column("episode_idx", chosen).tolist()
            == np.repeat(chosen, [LENGTHS[index] for index in chosen]).tolist()
        )


def test_a_collection_whose_last_shard_is_not_whole_is_unfinished(make_store: Make) -> None:
    store = make_store([4] * 5, per_shard=3)
    folder = store.paths[0].parent.parent
    replace(store.meta, episodes=6).write(folder)
    with pytest.raises(DataError, match="it has 1 of 2 shards; run the same collect command again"):
        EpisodeStore.open(folder)
    assert len(EpisodeStore.open(folder, partial=True)) == 5
