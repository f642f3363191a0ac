"""What is written carries its checks: whichever byte changes, nothing else than what was written is read back."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from wmplan.data.meta import DataError
from wmplan.data.shard_writer import EpisodeWriter, link_shards
from wmplan.data.store import EpisodeStore

Make = Callable[..., EpisodeStore]


def content(path: Path) -> dict[str, NDArray[Any]]:
    """Everything that a data set holds, its index included."""
    store = EpisodeStore.open(path)
    try:
        columns = {name: store.column(name) for name in store.columns}
        return {**columns, "lengths": store.lengths, "offsets": store.offsets, "meta": np.array(repr(store.meta))}
    finally:
        store.close()


def assert_changes_are_noticed(damaged: Path, data: Path, changes: int) -> None:
    """Change the file `damaged` in `changes` places: reading `data` says so, or gives what it gave before."""
    expected, whole, rng = content(data), damaged.read_bytes(), random.Random(0)
    noticed = 0
    for _ in range(changes):
        changed, at = bytearray(whole), rng.randrange(len(whole))
        changed[at] ^= 1 << rng.randrange(8)
        damaged.unlink()  # HDF5 knows open files by their inodes
        damaged.write_bytes(changed)
        try:
            read = content(data)
        except DataError as error:
            assert "\n" not in str(error)
            noticed += 1
            continue
        assert read.keys() == expected.keys(), at
        for name, values in expected.items():
            np.testing.assert_array_equal(read[name], values, err_msg=f"{name}, byte {at} of {len(whole)}")
    assert noticed > changes / 4  # the others are room that holds nothing


def test_any_changed_bit_of_a_shard_is_noticed(make_store: Make) -> None:
    store = make_store([5, 4, 6])
    store.close()
    assert_changes_are_noticed(store.paths[0], store.paths[0].parent.parent, 200)


def test_any_changed_bit_of_the_linking_file_is_noticed(make_store: Make) -> None:
    store = make_store([5, 4, 6, 5], per_shard=2)
    path = store.paths[0].parent.parent / "episodes.h5"
    link_shards(path, store.paths)
    store.close()
    assert_changes_are_noticed(path, path, 100)


def test_any_changed_bit_of_what_the_data_says_of_itself_is_noticed(make_store: Make) -> None:
    store = make_store([5, 4, 6])
    store.close()
    folder = store.paths[0].parent.parent
    assert_changes_are_noticed(folder / "meta.json", folder, 150)


@pytest.mark.parametrize("name", ["ep_len", "ep_offset"])
def test_a_changed_index_of_a_shard_without_checks_is_noticed_too(make_store: Make, name: str) -> None:
    """Older versions wrote the index as bare numbers; it has to agree with the numbers of the episodes."""
    store = make_store([5, 4, 6])
    store.close()
    folder = store.paths[0].parent.parent
    expected = content(folder)
    with h5py.File(store.paths[0], "a") as file:
        values = file[name][:]
        del file[name]
        file[name] = values
    np.testing.assert_equal(content(folder), expected)
    for number in range(3):
        for bit in range(0, 31):
            with h5py.File(store.paths[0], "a") as file:
                changed = values.copy()
                changed[number] ^= 1 << bit
                file[name][:] = changed
            with pytest.raises(DataError):
                content(folder)


def test_a_shard_of_other_episodes_is_noticed(make_store: Make) -> None:
    store = make_store([5] * 6, per_shard=2)
    store.close()
    store.paths[2].write_bytes(store.paths[1].read_bytes())
    with pytest.raises(DataError, match=r"00002\.h5 is damaged: its index is not that of the episodes 4 to 5"):
        EpisodeStore.open(store.paths[0].parent.parent)


def test_a_file_depends_on_its_episodes_alone(tmp_path: Path, episode_columns: Callable) -> None:
    """Not on how often it was saved on the way, nor on the process that wrote it."""
    written = []
    for name, saves in (("once", ()), ("often", range(12)), ("at times", (3, 4, 9))):
        path = tmp_path / f"{name}.h5"
        writer = EpisodeWriter(path)
        for episode in range(12):
            writer.add(episode, episode_columns(episode, 40))
            if episode in saves:
                writer.save()
                store = EpisodeStore.open(path)
                assert store.column("episode_idx").tolist() == np.repeat(np.arange(episode + 1), 40).tolist()
                np.testing.assert_array_equal(store.episode(episode)["pixels"], episode_columns(episode, 40)["pixels"])
                store.close()
        writer.save()
        written.append(path.read_bytes())
    assert written[0] == written[1] == written[2]
