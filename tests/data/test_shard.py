"""Files of the wild: whatever their layout, they load to what they mean or are refused in one line."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wmplan.data.meta import DataError
from wmplan.data.sampler import WindowSampler
from wmplan.data.store import EpisodeStore

Wild = Callable[..., Path]
Refusal = Callable[[Path], str]


# ---------------------------------------------------------------------- columns of different lengths


@pytest.mark.parametrize("name", ["pixels", "state"])
def test_columns_that_end_at_different_rows_are_refused(wild_file: Wild, refusal: Refusal, name: str) -> None:
    """One frame more than actions in every episode: read by one index, they would drift apart."""

    def longer(file: h5py.File) -> None:
        values = np.concatenate([file[name][:], file[name][:4]])
        del file[name]
        file[name] = values

    assert f"column '{name}' has 28 rows and 'action' 24, they have to agree" in refusal(wild_file(longer))

    def shorter(file: h5py.File) -> None:
        values = file[name][:20]
        del file[name]
        file[name] = values

    assert f"is cut short: column '{name}' has 20 rows, its episodes need 24" in refusal(wild_file(shorter))


def test_rows_after_the_last_episode_are_left_out(wild_file: Wild) -> None:
    def edit(file: h5py.File) -> None:
        del file["ep_len"], file["ep_offset"]
        file["ep_len"], file["ep_offset"] = [6, 6], [0, 6]

    store = EpisodeStore.open(wild_file(edit))
    assert store.num_rows == len(store.column("pixels")) == 12


def test_an_action_that_is_not_finite_is_named_when_the_file_is_opened(wild_file: Wild, refusal: Refusal) -> None:
    for value in (np.nan, np.inf, -np.inf):
        for row, message in ((8, "action' of episode 1 at step 2"), (11, None), (12, "episode 2 at step 0")):

            def edit(file: h5py.File, row: int = row, value: float = value) -> None:
                file["action"][row, 1] = value

            path = wild_file(edit, f"{value}{row}.h5")
            if message is None:  # the last row of an episode: there is no action
                assert np.isfinite(EpisodeStore.open(path).meta.action_high).all()
            else:
                assert f"{message} is not finite" in refusal(path)


def test_numbers_beyond_float32_are_named(wild_file: Wild) -> None:
    def edit(file: h5py.File) -> None:
        file["state"][9, 1] = 1e300

    store = EpisodeStore.open(wild_file(edit))
    with pytest.raises(DataError, match="state of episode 1 at step 3 is not finite"):
        WindowSampler(store, 2, 2, 2, columns=("action", "state"))


# ---------------------------------------------------------------------- any layout


@dataclass
class Layout:
    """A file of the wild and what it has to be read as, or the column and words it has to be refused with."""

    stored: dict[str, Any]
    expected: dict[str, NDArray[Any]]
    lengths: list[int]
    options: dict[str, Any] = field(default_factory=dict)
    refused: tuple[str, str] | None = None


STORED = ["<f4", ">f4", "<f8", ">f8", "f2", "<i8", ">i4", "u1", "?"]
COMPRESSION: list[dict[str, Any]] = [
    {},
    {"compression": "gzip", "shuffle": True},
    dict(hdf5plugin.Zstd()),
    {"fletcher32": True},
]


def numbers(draw: st.DrawFn, rng: np.random.Generator, rows: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Quantities as they are stored, and as (rows, N) floats."""
    width = draw(st.sampled_from([None, 1, 3]))
    shape = (rows,) if width is None else (rows, width)
    values = (rng.normal(size=shape) * 20).astype(draw(st.sampled_from(STORED)))
    return values, values.astype(np.float64).reshape(rows, -1)


def frames(draw: st.DrawFn, rng: np.random.Generator, rows: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Frames as they are stored, and as uint8 (rows, H, W, 3)."""
    expected = rng.integers(0, 256, (rows, 4, 5, 3), dtype=np.uint8)
    kind = draw(st.sampled_from(["u1", "u1", "<i4", ">u2", "f4", ">f8"]))
    stored = (expected / 255).astype(kind) if kind[-2] == "f" else expected.astype(kind)
    return (np.moveaxis(stored, -1, 1) if draw(st.booleans()) else stored), expected


def spoil(fault: str, name: str, stored: dict[str, Any], rows: int) -> tuple[str, str]:
    """Do to a column what nobody can read rightly; words of the refusal."""
    lengths, offsets = stored["ep_len"], stored["ep_offset"]
    longest = int(np.argmax(lengths))
    if fault == "short":
        stored[name] = stored[name][: int(max(lengths + offsets)) - 1]
        return "is cut short", "rows, its episodes need"
    if fault == "overlap":
        stored["ep_len"], stored["ep_offset"] = np.append(lengths, 1), np.append(offsets, offsets[longest])
        return "ep_offset", "share the row"
    if fault == "nan":
        stored["action"] = np.zeros((rows, 2), "f4")
        stored["action"][int(offsets[longest])] = np.nan
        return "'action'", f"of episode {longest} at step 0 is not finite"
    if fault in ("grey", "bright", "long"):
        name = "pixels"
    values, words = {
        "group": (None, "is a group"),
        "scalar": (3.0, "is a single value"),
        "text": (np.array([b"x"] * rows), "holds text"),
        "deep": (np.zeros((rows, 2, 2, 2, 2)), "has the shape"),
        "grey": (np.zeros((rows, 4, 5, 1), np.uint8), "has the shape"),
        "bright": (np.full((rows, 4, 5, 3), 254.0), "frames of floats have to go from 0 to 1"),
        "long": (np.zeros((rows + 1, 4, 5, 3), np.uint8), "they have to agree"),
    }[fault]
    stored[name] = values
    return repr(name), words


FAULTS = ["group", "scalar", "text", "deep", "grey", "bright", "long", "short", "overlap", "nan"]


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """Any layout: episodes in any order with gaps, any types, any extras, and at times a fault."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = draw(st.lists(st.integers(0, 6), min_size=1, max_size=5).filter(lambda some: max(some) > 2))
    order = draw(st.permutations(range(len(lengths))))
    offsets, row = [0] * len(lengths), 0
    for episode in order:
        row += draw(st.sampled_from([0, 0, 1, 4]))
        offsets[episode] = row
        row += lengths[episode]
    rows = row + draw(st.sampled_from([0, 3]))
    stored: dict[str, Any] = {
        "ep_len": np.array(lengths, draw(st.sampled_from(["<i4", ">i8", "f8", "u2"]))),
        "ep_offset": np.array(offsets, draw(st.sampled_from(["<i8", ">i4", "f4"]))),
    }
    expected: dict[str, NDArray[Any]] = {}
    for name in ("action", *draw(st.sets(st.sampled_from(["proprio", "state"])))):
        stored[name], expected[name] = numbers(draw, rng, rows)
    if draw(st.booleans()):
        stored["pixels"], expected["pixels"] = frames(draw, rng, rows)
    for name in draw(st.sets(st.sampled_from(["fps", "info", "per_episode", "text", "reward"]))):
        extras = {
            "fps": 10,
            "info": None,
            "per_episode": np.arange(rows + 1),
            "text": ["a"] * rows,
            "reward": rng.random(rows),
        }
        stored[name] = extras[name]
    refused = None
    if draw(st.booleans()):
        stored.setdefault("pixels", np.zeros((rows, 4, 5, 3), np.uint8))
        refused = spoil(draw(st.sampled_from(FAULTS)), draw(st.sampled_from(["pixels", "action"])), stored, rows)
    return Layout(stored, expected, lengths, draw(st.sampled_from(COMPRESSION)), refused)


def write(path: Path, layout: Layout) -> None:
    with h5py.File(path, "w") as file:
        for name, values in layout.stored.items():
            if values is None:
                file.create_group(name)["robot"] = 1
            elif isinstance(values, np.ndarray) and values.dtype.kind in "fiub" and values.size:
                file.create_dataset(name, data=values, **layout.options)
            else:
                file[name] = values


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(layouts())
def test_any_layout_loads_to_what_it_means_or_is_refused_in_one_line(layout: Layout) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.h5"
        write(path, layout)
        if layout.refused is not None:
            with pytest.raises(DataError) as caught:
                EpisodeStore.open(path)
            message = str(caught.value)
            assert "\n" not in message and str(path) in message
            assert all(words in message for words in layout.refused), message
            return
        store = EpisodeStore.open(path)
        assert store.lengths.tolist() == layout.lengths
        offsets = layout.stored["ep_offset"].astype(int).tolist()
        rows = [
            row for first, count in zip(offsets, layout.lengths, strict=True) for row in range(first, first + count)
        ]
        for name, values in layout.expected.items():
            np.testing.assert_array_equal(store.column(name), values[rows])
            for episode, (first, count) in enumerate(zip(offsets, layout.lengths, strict=True)):
                np.testing.assert_array_equal(store.episode(episode)[name], values[first : first + count])
        for batch in WindowSampler(store, 2, 1, 1, columns=tuple(layout.expected)).once():
            assert batch["action"].is_floating_point()
        store.close()
