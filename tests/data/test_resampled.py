"""Every n-th row, and actions that do until the next of them what those between did."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from wmplan.data import WindowSampler
from wmplan.data.meta import DataError
from wmplan.data.reader import Reader, open_data
from wmplan.data.resampled import Resampled, at_rate, rows_to_one

LENGTHS = (10, 1, 8)
POSE = ("delta", "velocity", "absolute", "gripper")


@pytest.fixture
def data(tmp_path: Path) -> Reader:
    """Robots that are moved by their actions: what they are told is what they do."""
    rng = np.random.default_rng(0)
    rows = sum(LENGTHS)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["pixels"] = rng.integers(0, 255, (rows, 4, 4, 3), np.uint8)
        file["action"] = rng.normal(size=(rows, 4)).astype(np.float32)
        file["proprio"] = rng.normal(size=(rows, 2)).astype(np.float32)
        file["ep_len"], file["ep_offset"] = np.array(LENGTHS), np.cumsum(LENGTHS) - np.array(LENGTHS)
    return open_data(tmp_path / "data.h5")


def test_rows_and_actions_of_every_third(data: Reader) -> None:
    slow = at_rate(data, 10, POSE, recorded=30)
    assert isinstance(slow, Resampled) and slow.meta.control_rate == 10
    assert slow.lengths.tolist() == [4, 1, 3]
    for episode in range(3):
        rows, whole = slow.episode(episode), data.episode(episode)
        for name in ("pixels", "proprio"):
            np.testing.assert_array_equal(rows[name], whole[name][::3])
        assert np.isnan(rows["action"][-1]).all()
        for row, action in enumerate(rows["action"][:-1]):
            three = whole["action"][3 * row : 3 * row + 3].astype(np.float64)
            wanted = [three[:, 0].sum(), three[:, 1].mean(), three[2, 2], three[2, 3]]
            np.testing.assert_allclose(action, wanted, rtol=1e-5)
    part = slow.episode(0, ["action", "pixels"], 1, 3)
    np.testing.assert_array_equal(part["action"], slow.episode(0)["action"][1:3])
    np.testing.assert_array_equal(part["pixels"], slow.episode(0)["pixels"][1:3])


def test_displacements_add_up_whatever_the_stride(data: Reader) -> None:
    """A robot that goes where its displacements lead is, at every row that is kept, where it was."""
    way = data.episode(0)["action"][:, 0].astype(np.float64)
    for stride in (2, 3, 9):
        slow = Resampled(data, stride, POSE).episode(0)["action"][:-1, 0]
        np.testing.assert_allclose(np.cumsum(slow), np.cumsum(way)[stride - 1 : 9 : stride][: len(slow)], rtol=1e-5)


def test_bounds_are_of_what_is_done_in_one_row(data: Reader) -> None:
    slow = Resampled(data, 2, POSE)
    actions = slow.column("action")
    actions = actions[np.isfinite(actions).all(1)]
    np.testing.assert_allclose(slow.meta.action_low, actions.min(0), rtol=1e-6)
    np.testing.assert_allclose(slow.meta.action_high, actions.max(0), rtol=1e-6)


def test_windows_are_drawn_from_it(data: Reader) -> None:
    slow = Resampled(data, 2, POSE)
    batch = next(iter(WindowSampler(slow, 2, 2, 4, memory=False, group=1)))
    whole = slow.episode(0)
    for frames, action in zip(batch["pixels"].numpy(), batch["action"].numpy(), strict=True):
        options = [slow.episode(one) for one in (0, 2)]
        start = [
            (rows, row)
            for rows in options
            for row in range(len(rows["pixels"]))
            if (rows["pixels"][row] == frames[0]).all()
        ]
        (rows, row) = start[0]
        np.testing.assert_array_equal(rows["pixels"][row + 2], frames[1])
        np.testing.assert_array_equal(rows["action"][row : row + 2].ravel(), action[0])
    assert len(whole["pixels"]) == 5


def test_rates_that_cannot_be(data: Reader) -> None:
    assert rows_to_one(29.97, 10) == 3 and rows_to_one(30, 30) == 1 and rows_to_one(None, 10) == 1
    assert rows_to_one(10, 20) is None and rows_to_one(30, 20) is None
    assert at_rate(data, 10, ()) is data
    with pytest.raises(DataError, match="action_kind must say what its actions are"):
        at_rate(data, 10, (), recorded=30)
    with pytest.raises(DataError, match="control_rate is 20, but the data was recorded at 30: it must be that"):
        at_rate(data, 20, POSE)
    with pytest.raises(DataError, match="data_rate is 15, but the data was recorded at 30: leave it out"):
        at_rate(data, 15, POSE, recorded=15)
