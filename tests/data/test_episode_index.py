"""Which rows are which episode: gaps, any order and empty episodes are read, what contradicts itself is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from wmplan.data.meta import DataError
from wmplan.data.sampler import WindowSampler
from wmplan.data.store import EpisodeStore

Wild = Callable[..., Path]


def index(lengths: Any, offsets: Any) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        for name, values in (("ep_len", lengths), ("ep_offset", offsets)):
            del file[name]
            file[name] = values

    return edit


@pytest.mark.parametrize("gap", [5, 60])
def test_rows_between_episodes_count_for_nothing(tmp_path: Path, gap: int) -> None:
    path, stride = tmp_path / "gaps.h5", 60 + gap
    action = np.random.default_rng(0).uniform(-0.2, 0.2, (4 * stride, 2)).astype("f4")
    kept = np.concatenate([np.arange(60) + episode * stride for episode in range(4)])
    deleted = np.setdiff1d(np.arange(len(action)), kept)
    expected, action[deleted] = action[kept].copy(), 99
    action[deleted[::2]] = np.nan
    with h5py.File(path, "w") as file:
        file["pixels"], file["action"] = np.zeros((4 * stride, 8, 8, 3), np.uint8), action
        file["ep_len"], file["ep_offset"] = np.full(4, 60, "i4"), np.arange(4) * stride
    store = EpisodeStore.open(path)
    assert store.meta.action_low == tuple(expected.min(0).tolist())
    assert store.meta.action_high == tuple(expected.max(0).tolist())
    np.testing.assert_array_equal(store.column("action"), expected)
    np.testing.assert_array_equal(store.episode(2)["action"], expected[120:180])
    assert store.offsets.tolist() == [0, 60, 120, 180]


def test_episodes_in_any_order_with_empty_ones_between(wild_file: Wild) -> None:
    path = wild_file(index([6, 0, 5, 1, 0], [12, 12, 1, 20, 0]))
    with h5py.File(path) as file:
        action = file["action"][:]
    store = EpisodeStore.open(path)
    assert store.lengths.tolist() == [6, 0, 5, 1, 0]
    expected = np.concatenate([action[12:18], action[1:6], action[20:21]])
    np.testing.assert_array_equal(store.column("action"), expected)
    np.testing.assert_array_equal(store.column("action", [2, 1, 0]), np.concatenate([action[1:6], action[12:18]]))
    assert store.episode(1)["pixels"].shape == (0, 4, 5, 3)
    store.check_finite()
    sampler = WindowSampler(store, 2, 2, 1, columns=("action",))
    assert sampler.num_windows == (6 - 2) + (5 - 2)
    assert sampler.episodes.tolist() == [0, 2]
    assert store.meta.steps is None


@pytest.mark.parametrize("kind", [">i4", "u8", "f8", ">f4"])
@pytest.mark.parametrize("column", [False, True])
def test_any_whole_numbers_do(wild_file: Wild, kind: str, column: bool) -> None:
    values = [np.asarray(x, kind).reshape(-1, 1) if column else np.asarray(x, kind) for x in ([8, 8], [0, 16])]
    assert EpisodeStore.open(wild_file(index(*values))).lengths.tolist() == [8, 8]


def test_one_episode_may_be_a_single_number(wild_file: Wild) -> None:
    assert EpisodeStore.open(wild_file(index(24, 0))).lengths.tolist() == [24]


@pytest.mark.parametrize(
    ("lengths", "offsets", "message"),
    [
        ([6, 6], [0, 5], "episodes 0 and 1 share the row 5"),
        ([6, 2, 6], [12, 3, 0], "episodes 1 and 2 share the row 3"),
        ([24, 1], [0, 0], "episodes 0 and 1 share the row 0"),
        ([6, 6], [0], "ep_len has 2 episodes and ep_offset 1"),
        ([6, -1], [0, 6], "ep_len of episode 1 must be a number of rows, got -1"),
        ([6, 6], [0, -6], "ep_offset of episode 1 must be a number of rows, got -6"),
        ([6, 6.5], [0, 6], "ep_len of episode 1 must be a number of rows, got 6.5"),
        ([6.0, np.nan], [0, 6], "ep_len of episode 1 must be a number of rows, got nan"),
        ([6, 6], [0, 2**63 - 1], "ep_offset of episode 1 must be a number of rows, got 9223372036854775807"),
        (
            np.array([6, 2**64 - 6], "u8"),
            [0, 6],
            "ep_len of episode 1 must be a number of rows, got 18446744073709551610",
        ),
        ([[3, 3], [3, 3]], [[0, 3], [6, 9]], r"ep_len holds int64 of shape \(2, 2\)"),
        ([b"6", b"6"], [0, 6], "ep_len holds"),
        ([6, 6], [0, 20], "column 'action' has 24 rows, its episodes need 26"),
        ([], [], "column 'action' has no action in any of its 0 episodes"),
        ([0, 0], [0, 0], "column 'action' has no action in any of its 2 episodes"),
    ],
)
def test_an_index_that_contradicts_itself_is_refused(wild_file: Wild, lengths: Any, offsets: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"mine\.h5.*{message}") as caught:
        EpisodeStore.open(wild_file(index(lengths, offsets)))
    assert "\n" not in str(caught.value)


def test_an_index_that_is_a_group_is_refused(wild_file: Wild) -> None:
    def edit(file: h5py.File) -> None:
        del file["ep_len"]
        file.create_group("ep_len")

    with pytest.raises(DataError, match="ep_len must be a dataset with a number an episode, got a group"):
        EpisodeStore.open(wild_file(edit))
