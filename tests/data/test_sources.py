"""Bytes that are elsewhere or nowhere: HDF5 invents them without a word, so they are looked for first."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from wmplan.data.meta import DataError
from wmplan.data.shard_writer import link_shards
from wmplan.data.store import EpisodeStore

Wild = Callable[..., Path]
Refusal = Callable[[Path], str]


@pytest.fixture
def linked(make_store: Callable[..., EpisodeStore]) -> Path:
    """One file over three shards of two episodes each."""
    store = make_store([5] * 6, per_shard=2)
    path = store.paths[0].parent.parent / "episodes.h5"
    link_shards(path, store.paths)
    store.close()
    return path


def test_a_shard_that_is_missing_behind_a_virtual_data_set_is_named(linked: Path, refusal: Refusal) -> None:
    assert len(EpisodeStore.open(linked)) == 6
    (linked.parent / "shards" / "00001.h5").unlink()
    with h5py.File(linked) as file:
        assert not file["pixels"][10:20].any()  # what HDF5 makes of it
    assert "column 'action' takes rows from shards/00001.h5, which is not beside" in refusal(linked)


def test_a_shard_that_is_cut_short_behind_a_virtual_data_set_is_named(linked: Path, refusal: Refusal) -> None:
    shard = linked.parent / "shards" / "00002.h5"
    shard.write_bytes(shard.read_bytes()[:-100])
    assert "column 'action' takes rows from another file: " in refusal(linked)
    assert "00002.h5 is cut short" in refusal(linked)


def test_a_shard_that_lost_a_column_or_rows_behind_a_virtual_data_set_is_named(linked: Path, refusal: Refusal) -> None:
    with h5py.File(linked.parent / "shards" / "00002.h5", "a") as file:
        del file["pixels"]
    assert "column 'pixels' takes rows from" in refusal(linked)
    assert "00002.h5, which has no dataset 'pixels'" in refusal(linked)
    with h5py.File(linked.parent / "shards" / "00002.h5", "a") as file:
        file["pixels"] = np.zeros((4, 4, 5, 3), np.uint8)
    assert "column 'pixels' takes more rows from" in refusal(linked)


def test_a_locked_shard_behind_a_virtual_data_set_is_named(linked: Path) -> None:
    code = "import sys; from wmplan.data import EpisodeStore; EpisodeStore.open(sys.argv[1])"
    with h5py.File(linked.parent / "shards" / "00000.h5", "a"):
        done = subprocess.run([sys.executable, "-c", code, str(linked)], capture_output=True, text=True)
    assert "column 'action' takes rows from another file: " in done.stderr
    assert "00000.h5 is locked" in done.stderr


def test_rows_that_a_virtual_data_set_maps_to_nothing_are_refused(wild_file: Wild, refusal: Refusal) -> None:
    def edit(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((24, 2), "f4")
        layout[:18] = h5py.VirtualSource("other.h5", "action", (24, 2))[:18]
        del file["action"]
        file.create_virtual_dataset("action", layout)

    wild_file(name="other.h5")
    assert "column 'action' is virtual and maps 36 of its 48 numbers" in refusal(wild_file(edit))


def test_virtual_data_sets_within_the_file_and_of_virtual_ones_are_read(wild_file: Wild, tmp_path: Path) -> None:
    def virtual(file: h5py.File, name: str, source: str, dataset: str) -> None:
        layout = h5py.VirtualLayout((24, 2), "f4")
        layout[:] = h5py.VirtualSource(source, dataset, (24, 2))
        del file[name]
        file.create_virtual_dataset(name, layout)

    def inner(file: h5py.File) -> None:
        file["kept/action"] = file["action"][:]
        virtual(file, "action", ".", "kept/action")

    with h5py.File(wild_file(inner, "inner.h5")) as file:
        expected = file["action"][:]
    outer = wild_file(lambda file: virtual(file, "action", "inner.h5", "action"), "outer.h5")
    store = EpisodeStore.open(outer)
    np.testing.assert_array_equal(store.column("action"), expected)
    assert {path.name for path in store.files} == {"outer.h5", "inner.h5"}
    store.close()
    with h5py.File(tmp_path / "inner.h5", "a") as file:
        del file["kept"]
    with pytest.raises(DataError, match=r"inner\.h5, which has no dataset 'kept/action'"):
        EpisodeStore.open(outer)


def test_virtual_data_sets_in_a_circle_are_refused(wild_file: Wild, refusal: Refusal) -> None:
    def edit(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((24, 2), "f4")
        layout[:] = h5py.VirtualSource("mine.h5", "action", (24, 2))
        del file["action"]
        file.create_virtual_dataset("action", layout)

    assert "column 'action' is virtual over more than 8 levels" in refusal(wild_file(edit))


def test_a_pattern_of_files_is_refused(wild_file: Wild, refusal: Refusal) -> None:
    def edit(file: h5py.File) -> None:
        del file["action"]
        endless = h5py.h5s.create_simple((24, 2), (h5py.h5s.UNLIMITED, 2))
        mapped = endless.copy()
        mapped.select_hyperslab((0, 0), (h5py.h5s.UNLIMITED, 1), (12, 2), (12, 2))
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_virtual(mapped, b"part-%b.h5", b"action", h5py.h5s.create_simple((12, 2)))
        h5py.h5d.create(file.id, b"action", h5py.h5t.NATIVE_FLOAT, endless, properties)

    assert "column 'action' is virtual with a pattern of names" in refusal(wild_file(edit))


def test_a_virtual_data_set_that_grows_with_its_file_is_read(wild_file: Wild) -> None:
    action = np.random.default_rng(0).normal(size=(24, 2)).astype("f4")

    def inner(file: h5py.File) -> None:
        del file["action"]
        file.create_dataset("action", data=action, maxshape=(None, 2))

    def edit(file: h5py.File) -> None:
        del file["action"]
        layout = h5py.VirtualLayout((24, 2), "f4", maxshape=(None, 2))
        source = h5py.VirtualSource("inner.h5", "action", (24, 2), maxshape=(None, 2))
        layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
        file.create_virtual_dataset("action", layout)

    inside = wild_file(inner, "inner.h5")
    path = wild_file(edit)
    np.testing.assert_array_equal(EpisodeStore.open(path).column("action"), action)
    inside.unlink()
    with pytest.raises(DataError, match=r"column 'action' takes rows from inner\.h5, which is not beside"):
        EpisodeStore.open(path)


@pytest.mark.parametrize(("size", "message"), [(None, "is not there"), (100, "has 100 bytes"), (192, None)])
def test_raw_files_beside_are_whole(
    wild_file: Wild, refusal: Refusal, tmp_path: Path, size: int | None, message: str | None
) -> None:
    raw = tmp_path / "action.bin"
    values = np.random.default_rng(0).normal(size=(24, 2)).astype("f4")
    if size is not None:
        raw.write_bytes(values.tobytes()[:size])

    def edit(file: h5py.File) -> None:
        del file["action"]
        file.create_dataset("action", (24, 2), "f4", external=[(str(raw), 0, h5py.h5f.UNLIMITED)])

    path = wild_file(edit)
    if message:
        assert f"column 'action' is stored in {raw}, which {message}; it takes 192" in refusal(path)
    else:
        store = EpisodeStore.open(path)
        np.testing.assert_array_equal(store.column("action"), values)
        assert set(store.files) == {raw, path}


def test_a_compression_filter_that_is_not_installed_is_named(wild_file: Wild, refusal: Refusal) -> None:
    def edit(file: h5py.File) -> None:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((24, 2))
        properties.set_filter(32765, h5py.h5z.FLAG_OPTIONAL, (1,))  # nobody has registered this number
        space = h5py.h5s.create_simple((24, 2))
        for name in ("action", "extra"):
            if name in file:
                del file[name]
            h5py.h5d.create(file.id, name.encode(), h5py.h5t.NATIVE_FLOAT, space, properties)
            file[name].id.write_direct_chunk((0, 0), bytes(24 * 2 * 4))

    message = refusal(wild_file(edit))
    assert "column 'action' is compressed with the HDF5 filter 32765, which is not installed" in message


@pytest.mark.parametrize("chunks", [None, (4, 2), (4, 1)])
@pytest.mark.parametrize("name", ["action", "pixels", "state"])
def test_rows_that_were_never_written_are_refused(wild_file: Wild, chunks: tuple[int, int] | None, name: str) -> None:
    """A recorder that was killed between making room and writing: HDF5 fills in zeros."""

    def edit(file: h5py.File) -> None:
        shape: tuple[int, ...] = file[name].shape
        del file[name]
        whole = chunks and (*chunks, *shape[2:])[: len(shape)]
        dataset: Any = file.create_dataset(name, shape, "u1" if name == "pixels" else "f4", chunks=whole)
        if chunks:
            dataset[:20] = 1

    path = wild_file(edit)
    message = f"column '{name}' was never written at row {20 if chunks else 0}"
    if name == "state":
        store = EpisodeStore.open(path)
        with pytest.raises(DataError, match=message):
            store.column(name)
    else:
        with pytest.raises(DataError, match=message):
            EpisodeStore.open(path)


def test_rows_between_the_episodes_need_not_be_written(wild_file: Wild) -> None:
    def edit(file: h5py.File) -> None:
        del file["state"]
        dataset = file.create_dataset("state", (24, 3), "f4", chunks=(6, 3))
        dataset[:12], dataset[18:] = 1, 1
        file["ep_len"][2] = 0

    store = EpisodeStore.open(wild_file(edit))
    assert store.lengths.tolist() == [6, 6, 0, 6]
    assert (store.column("state") == 1).all()
