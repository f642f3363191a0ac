"""Columns as people have them: read as what they mean, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from wmplan.data.meta import DataError
from wmplan.data.sampler import WindowSampler
from wmplan.data.store import EpisodeStore

Wild = Callable[..., Path]
Refusal = Callable[[Path], str]


def replaced(name: str, values: Any) -> Callable[[h5py.File], None]:
    """An edit that stores other values under a name, or adds them."""

    def edit(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file[name] = values

    return edit


NUMBERS = [">i8", "<i4", "u1", ">u2", "i1", ">f4", "f2", ">f8", "f8", "?"]


@pytest.mark.parametrize("name", ["action", "proprio", "state"])
@pytest.mark.parametrize("kind", NUMBERS)
def test_quantities_are_floats_of_this_machine(wild_file: Wild, name: str, kind: str) -> None:
    values = (np.arange(48).reshape(24, 2) % 5).astype(kind)
    store = EpisodeStore.open(wild_file(replaced(name, values)))
    read = store.column(name)
    assert read.dtype == store.columns[name][1]
    assert read.dtype.kind == "f" and read.dtype.isnative
    np.testing.assert_array_equal(read, values.astype(np.float64))
    batch = next(iter(WindowSampler(store, 2, 2, 4, columns=("pixels", "action", name))))
    assert batch[name].dtype == torch.float32


def test_whole_numbers_that_float32_cannot_hold_stay_exact(wild_file: Wild) -> None:
    values = np.arange(24, dtype=np.int32)[:, None] + 2**30
    np.testing.assert_array_equal(EpisodeStore.open(wild_file(replaced("state", values))).column("state"), values)


@pytest.mark.parametrize("name", ["action", "proprio", "state"])
def test_one_number_a_row_is_a_row_of_one(wild_file: Wild, name: str) -> None:
    values = np.linspace(-1, 1, 24)
    store = EpisodeStore.open(wild_file(replaced(name, values)))
    assert store.columns[name] == ((1,), np.float64)
    np.testing.assert_array_equal(store.column(name), values[:, None])
    if name == "action":
        assert (store.meta.action_low, store.meta.action_high) == ((-1.0,), (1.0,))
        assert next(iter(WindowSampler(store, 2, 3, 4, columns=("action",))))["action"].shape == (4, 1, 3)


FRAMES = np.random.default_rng(1).integers(0, 256, (24, 4, 5, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "stored",
    [
        np.moveaxis(FRAMES, -1, 1),
        FRAMES.astype(np.int64),
        FRAMES.astype(">u2"),
        FRAMES / 255,
        (FRAMES / 255).astype(">f4"),
        np.moveaxis((FRAMES / 255).astype(np.float16), -1, 1),
    ],
    ids=["channels first", "int64", "big-endian", "float64", "float32", "float16, channels first"],
)
def test_frames_are_bytes_with_channels_last(wild_file: Wild, stored: np.ndarray) -> None:
    store = EpisodeStore.open(wild_file(replaced("pixels", stored)))
    assert store.columns["pixels"] == ((4, 5, 3), np.uint8)
    assert store.meta.image_size == (4, 5)
    np.testing.assert_array_equal(store.column("pixels"), FRAMES)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (FRAMES[..., 0], r"has the shape \(24, 4, 5\), frames must be uint8 RGB"),
        (FRAMES[..., :1], r"has the shape \(24, 4, 5, 1\), frames must be"),
        (np.concatenate([FRAMES, FRAMES[..., :1]], -1), r"has the shape \(24, 4, 5, 4\)"),
        (np.stack([FRAMES, FRAMES], 1), r"has the shape \(24, 2, 4, 5, 3\)"),
        (FRAMES[:, :0], r"has the shape \(24, 0, 5, 3\)"),
        (FRAMES.astype(np.float32), "has the value .*; frames of floats have to go from 0 to 1"),
        (FRAMES / 127.5 - 1, "has the value -.*; frames of floats have to go from 0 to 1"),
        (np.full(FRAMES.shape, np.nan), "has the value nan"),
        (FRAMES.astype(np.int16) - 128, "has the value .*; frames of whole numbers have to go from 0 to 255"),
        (FRAMES > 128, "holds true or false, frames must be"),
        (np.array([b"jpeg"] * 24), "holds text, frames must be"),
    ],
)
def test_frames_that_could_be_anything_are_refused(
    wild_file: Wild, refusal: Refusal, stored: np.ndarray, message: str
) -> None:
    with pytest.raises(DataError, match=f"column 'pixels' {message}"):
        EpisodeStore.open(wild_file(replaced("pixels", stored)))


def test_a_frame_in_the_middle_that_is_no_picture_is_refused_when_it_is_read(wild_file: Wild) -> None:
    stored = FRAMES / 255
    stored[8, 1, 1, 1] = 7.5
    store = EpisodeStore.open(wild_file(replaced("pixels", stored)))
    np.testing.assert_array_equal(store.episode(0)["pixels"], FRAMES[:6])
    with pytest.raises(DataError, match=r"mine\.h5: column 'pixels', rows 6 to 12: it has the value 7.5"):
        store.episode(1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((24, 2, 7)), r"has the shape \(24, 2, 7\), it must be \(rows, numbers\)"),
        (np.zeros((24, 0)), r"has the shape \(24, 0\)"),
        (np.zeros((24, 2), "c8"), "holds complex numbers, it has to hold numbers"),
        (np.array([b"left"] * 24), "holds text, it has to hold numbers"),
        (np.zeros(24, [("x", "f4"), ("y", "f4")]), "holds records, it has to hold numbers"),
        (0.5, "is a single value"),
    ],
)
def test_actions_that_are_none_are_refused(wild_file: Wild, refusal: Refusal, values: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"column 'action' {message}"):
        EpisodeStore.open(wild_file(replaced("action", values)))


def add_odd_things(file: h5py.File) -> None:
    file["fps"] = 10
    file["empty"] = h5py.Empty("f4")
    file["episode_seed"] = np.arange(4)
    file["camera_matrix"] = np.eye(3)
    file["type"] = np.dtype("f4")
    file.create_group("info")["robot"] = 1
    file["gone"] = h5py.SoftLink("/nowhere")
    file["far"] = h5py.ExternalLink("nowhere.h5", "/x")
    file.create_dataset("ragged", (24,), h5py.vlen_dtype("u1"))[0] = np.arange(3)
    file["task"] = ["push the block"] * 24
    file["flag"] = np.arange(24) % 2 == 0
    file["reward"] = np.zeros((24, 1), ">f4")


ODD = {
    "fps": "is a single value, it has to have a row a robot step",
    "empty": "is a single value",
    "episode_seed": "has 4 rows, it has to have 24",
    "camera_matrix": "has 3 rows, it has to have 24",
    "type": "is a type, it must be a dataset",
    "info": "is a group, it must be a dataset",
    "gone": "is a link to /nowhere, which is not in the file",
    "far": "is a link to /x in nowhere.h5, which cannot be opened",
    "ragged": "holds rows of varying length or references",
}


def test_what_is_no_column_is_set_aside_and_named_when_it_is_asked_for(wild_file: Wild) -> None:
    store = EpisodeStore.open(wild_file(add_odd_things))
    assert set(store.columns) == {"pixels", "action", "state", "task", "flag", "reward"}
    assert store.unusable.keys() == ODD.keys()
    assert set(store.episode(0)) == set(store.columns)
    for name, reason in ODD.items():
        problem = store.column_problem(name)
        assert problem is not None and f"mine.h5: column {name!r} {reason}" in problem
        for ask in (store.column, lambda name: WindowSampler(store, 2, 2, 2, columns=(name, "action"))):
            with pytest.raises(DataError) as caught:
                ask(name)
            assert str(caught.value) == problem
    assert store.column_problem("reward") is None
    assert "has no column 'depth'; it has " in str(store.column_problem("depth"))


def test_columns_that_windows_cannot_hold_are_named(wild_file: Wild) -> None:
    store = EpisodeStore.open(wild_file(add_odd_things))
    assert store.column("task").tolist() == [b"push the block"] * 24
    with pytest.raises(DataError, match="column 'task' holds object, a window takes numbers"):
        WindowSampler(store, 2, 2, 2, columns=("action", "task"))
    batch = next(iter(WindowSampler(store, 2, 2, 2, columns=("action", "flag", "reward"))))
    assert batch["flag"].dtype == torch.bool and batch["reward"].dtype == torch.float32


def test_a_link_to_another_file_is_followed(wild_file: Wild) -> None:
    with h5py.File(wild_file(name="other.h5"), "a") as other:
        expected = other["action"][:]

    def edit(file: h5py.File) -> None:
        del file["action"]
        file["action"] = h5py.ExternalLink("other.h5", "/action")
        file["again"] = h5py.SoftLink("/state")

    store = EpisodeStore.open(wild_file(edit))
    np.testing.assert_array_equal(store.column("action"), expected)
    np.testing.assert_array_equal(store.column("again"), store.column("state"))
    assert [path.name for path in store.files] == ["mine.h5", "other.h5"]
