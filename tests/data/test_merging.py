"""Pieces of a collection, collected apart, make the files that one process writes; what does not fit is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import pytest

from wmplan.data.collection import CollectConfig, collect
from wmplan.data.meta import DataError
from wmplan.data.store import EpisodeStore
from wmplan.errors import UserError
from wmplan.merge import merge

TASK = "wmplan.envs:wmplan/PushT-v0"


def small(folder: Path, **changes: object) -> CollectConfig:
    config = CollectConfig(TASK, str(folder), 5, 4, 3, (16, 16), processes=1, episodes_per_shard=1)
    return replace(config, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pieces")
    collect(small(folder / "whole"))
    for number in (1, 2):
        held = collect(small(folder / str(number), shard=f"{number}/2"))
        assert len(held) == {1: 3, 2: 2}[number]
    return [folder / "whole", folder / "1", folder / "2"]


def content(folder: Path) -> dict[str, bytes]:
    """Every file; of the one that links the others, which holds the time at which it was made, what it shows."""
    with h5py.File(folder / "episodes.h5") as linked:
        shown = {name: linked[name][:].tobytes() for name in linked}
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "episodes.h5"]
    return shown | {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_pieces_make_what_one_process_writes_to_the_byte(pieces: list[Path], tmp_path: Path) -> None:
    whole, *parts = pieces
    store = merge(parts, out=tmp_path / "merged")
    assert isinstance(store, EpisodeStore) and len(store) == 5
    assert content(tmp_path / "merged") == content(whole)
    next((tmp_path / "merged" / "shards").iterdir()).unlink()  # as after a kill
    merge(parts, out=tmp_path / "merged")
    assert content(tmp_path / "merged") == content(whole)


def test_pieces_that_do_not_fit_are_refused_and_nothing_is_written(pieces: list[Path], tmp_path: Path) -> None:
    whole, first, second = pieces
    collect(small(tmp_path / "other", shard="2/2", seed=4))
    shutil.copytree(second, tmp_path / "again")
    shutil.copytree(second, tmp_path / "holes")
    next((tmp_path / "holes" / "shards").iterdir()).unlink()
    evaluation = tmp_path / "evaluation"
    shutil.copytree(second, evaluation)
    from wmplan.checked import write_json_checked

    write_json_checked(evaluation / "piece.json", {"schema": 1, "kind": "evaluation", "shard": "2/2"})
    damaged = tmp_path / "damaged"
    shutil.copytree(second, damaged)
    (damaged / "piece.json").write_text(json.dumps({"schema": 1, "kind": "collection", "shard": "1/2"}))
    wrong = [
        ([first], r"1 of 2 pieces is missing: 2/2"),
        ([first, second, tmp_path / "again"], r"piece 2/2 is given twice"),
        ([first, tmp_path / "other"], r"1 holds a piece with seed=3, .*other has 4"),
        ([first, tmp_path / "holes"], r"holes is unfinished or damaged, .* has 0 of 1 episodes"),
        ([first, evaluation], r"holds a piece of a collection, .*evaluation of an evaluation: they cannot be joined"),
        ([first, damaged], r"piece.json is damaged"),
        ([whole, second], r"whole holds no piece"),
    ]
    for folders, message in wrong:
        with pytest.raises(UserError, match=message):
            merge(folders, out=tmp_path / "merged")
        assert not (tmp_path / "merged").exists()
    with pytest.raises(UserError, match="2 is one of the pieces, which stay as they are: give another folder"):
        merge([first, second], out=second)
    with pytest.raises(DataError, match="again holds a piece: give another out=DIR"):
        merge([first, second], out=tmp_path / "again")


def test_a_folder_holds_one_piece(pieces: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 holds piece 1/2 of a collection, shard=2/2 was asked for"):
        collect(small(pieces[1], shard="2/2"))
    with pytest.raises(DataError, match="1 holds piece 1/2 of a collection, the whole was asked for"):
        collect(small(pieces[1]))
    with pytest.raises(DataError, match="whole holds a whole collection, shard=1/2 was asked for"):
        collect(small(pieces[0], shard="1/2"))
    with pytest.raises(DataError, match="at most 1 pieces, for 1 file of episodes_per_shard=50, got 1/2"):
        small(tmp_path, shard="1/2", episodes_per_shard=50)
