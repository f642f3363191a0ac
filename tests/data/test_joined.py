"""Data sets of one robot read as one: every row is that of the data set that it is of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from wmplan.data.joined import Joined
from wmplan.data.meta import DataError
from wmplan.data.reader import Reader, open_data


def recorded(path: Path, lengths: tuple[int, ...], seed: int, actions: int = 2) -> Reader:
    rng, rows = np.random.default_rng(seed), sum(lengths)
    with h5py.File(path, "w") as file:
        file["pixels"] = rng.integers(0, 255, (rows, 4, 4, 3), np.uint8)
        file["action"] = rng.normal(size=(rows, actions)).astype(np.float32)
        file["proprio"] = rng.normal(size=(rows, 3)).astype(np.float32)
        if seed == 0:
            file["state"] = rng.normal(size=(rows, 5))
        file["ep_len"], file["ep_offset"] = np.array(lengths), np.cumsum(lengths) - np.array(lengths)
    return open_data(path)


def test_every_episode_is_that_of_its_own_data_set(tmp_path: Path) -> None:
    first, second = recorded(tmp_path / "a.h5", (6, 4), 0), recorded(tmp_path / "b.h5", (3, 5, 2), 1)
    joined = Joined([first, second])
    assert len(joined) == joined.meta.episodes == 5 and joined.lengths.tolist() == [6, 4, 3, 5, 2]
    assert set(joined.columns) == {"pixels", "action", "proprio"}  # the second has no states
    for episode, (part, own) in enumerate([(first, 0), (first, 1), (second, 0), (second, 1), (second, 2)]):
        assert joined.path_of(episode) == part.path_of(own)
        for name in joined.columns:
            np.testing.assert_array_equal(joined.read(episode, name, 1, 2), part.read(own, name, 1, 2))
    assert joined.meta.action_low == tuple(np.minimum(first.meta.action_low, second.meta.action_low))
    both = np.concatenate([first.column("proprio"), second.column("proprio")])
    np.testing.assert_array_equal(joined.column("proprio"), both)


def test_data_of_another_robot_is_refused(tmp_path: Path) -> None:
    first = recorded(tmp_path / "a.h5", (6, 4), 0)
    with pytest.raises(DataError, match="column 'action' of .*c.h5 holds"):
        Joined([first, recorded(tmp_path / "c.h5", (4,), 1, actions=3)])
    second = recorded(tmp_path / "b.h5", (3,), 1)
    first.meta, second.meta = replace(first.meta, control_rate=10.0), replace(second.meta, control_rate=20.0)
    with pytest.raises(DataError, match="has control_rate 20.0, .* has 10.0: they are of different robots"):
        Joined([first, second])
