"""A reader of a stranger's format gives what our own gives for the same episodes, and formats are found or named."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wmplan.data.meta import DataError
from wmplan.data.reader import open_data
from wmplan.data.sampler import WindowSampler
from wmplan.data.store import EpisodeStore
from wmplan.errors import UserError
from wmplan.registry import READERS


@pytest.fixture(scope="module")
def stranger() -> Iterator[Any]:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import npz_episodes

    yield npz_episodes
    sys.path.remove(str(Path(__file__).parents[1]))


@pytest.fixture
def both(stranger: Any, make_store: Callable[..., EpisodeStore], tmp_path: Path) -> tuple[EpisodeStore, Path]:
    """The same episodes in shards and as a stranger's folder."""
    store = make_store([9, 12, 7, 10])
    return store, stranger.write(tmp_path / "theirs", [store.episode(index) for index in range(len(store))])


def test_windows_do_not_depend_on_the_format(both: tuple[EpisodeStore, Path]) -> None:
    store, folder = both
    theirs = open_data(folder)
    assert type(theirs).__name__ == "NpzEpisodes" and theirs.lengths.tolist() == store.lengths.tolist()
    assert theirs.offsets.tolist() == store.offsets.tolist() and theirs.num_rows == store.num_rows
    for name in ("action", "state"):
        np.testing.assert_array_equal(theirs.column(name), store.column(name))
        np.testing.assert_array_equal(theirs.column(name, [3, 1]), store.column(name, [3, 1]))
    for memory in (True, False):
        batches = [iter(WindowSampler(one, 3, 2, 5, seed=1, memory=memory, group=2)) for one in (store, theirs)]
        for _ in range(4):
            ours, others = (next(one) for one in batches)
            assert ours.keys() == others.keys()
            assert all(np.array_equal(ours[name], others[name]) for name in ours)


def test_a_format_is_found_or_named(both: tuple[EpisodeStore, Path], tmp_path: Path) -> None:
    store, folder = both
    assert {"shards", "npz_episodes"} <= set(READERS)
    assert isinstance(open_data(store.paths[0].parent.parent), EpisodeStore)
    assert isinstance(open_data(store.paths[0]), EpisodeStore)
    assert type(open_data(f"npz_episodes:{folder}")).__name__ == "NpzEpisodes"
    assert open_data(folder, task="mine/Task-v0").meta.task == "mine/Task-v0"
    with pytest.raises(DataError, match="does not exist"):
        open_data(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no meta.json and no .h5"):
        open_data(tmp_path / "empty")


def test_what_a_reader_gives_is_checked(both: tuple[EpisodeStore, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = open_data(both[1])
    short = theirs.read
    monkeypatch.setattr(theirs, "read", lambda episode, name, start, stop: short(episode, name, start, stop - 1))
    with pytest.raises(UserError, match=r"000.npz: column 'action' of episode 0 must have the shape \(9, 2\), got \(8"):
        theirs.column("action")
    with pytest.raises(UserError, match=r"000.npz has no column 'depth'; it has .*action"):
        theirs.column("depth")
    with pytest.raises(IndexError, match="there is no episode 4"):
        theirs.episode(4)
