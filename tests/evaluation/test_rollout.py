"""A played episode is read as it was written, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmplan.errors import UserError
from wmplan.evaluation.rollout import load_episode, save_episode

EPISODE = {"states": np.arange(12.0).reshape(4, 3), "goal": np.ones(3), "plans": np.empty((0, 0, 0), np.float32)}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("episodes") / "planner-0-0000.npz"


def test_arrays_come_back_as_they_were(path: Path) -> None:
    save_episode(path, EPISODE)
    found = load_episode(path)
    assert found.keys() == EPISODE.keys()
    for name, array in EPISODE.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_flipped_bit_changes_no_number(path: Path, data: st.DataObject) -> None:
    save_episode(path, EPISODE)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        found = load_episode(path)
    except UserError as error:
        assert str(path) in str(error)
    else:  # a date
        assert all(np.array_equal(found[name], array) for name, array in EPISODE.items())


def test_an_archive_that_lost_an_array_is_refused(path: Path) -> None:
    save_episode(path, EPISODE)
    content = bytearray(path.read_bytes())
    entries = [at for at in range(len(content)) if content[at : at + 4] == b"PK\x01\x02"]
    end = content.rindex(b"PK\x05\x06")
    last = entries[2]  # of three arrays and their names: the directory now ends before the third
    for at in (end + 8, end + 10):
        content[at : at + 2] = (2).to_bytes(2, "little")
    content[end + 12 : end + 16] = (last - entries[0]).to_bytes(4, "little")
    path.write_bytes(content[:last] + content[end:])
    with pytest.raises(UserError, match="is damaged"):
        load_episode(path)
