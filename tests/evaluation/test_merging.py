"""Pieces of an evaluation, played apart, make the files that one process writes; what does not fit is refused."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wmplan import cli
from wmplan.errors import UserError
from wmplan.evaluation import Protocol, evaluate, load_results
from wmplan.merge import merge

HERE = Path(__file__).parent
PLANNER = {"name": "cem", "num_samples": 8, "num_iterations": 1, "num_elites": 2, "horizon": 2}


@pytest.fixture(scope="module")
def play() -> Iterator[Any]:
    sys.path.insert(0, str(HERE))
    from point_world import TASK, PointWorld

    def run(out: Path, **changes: Any) -> dict[str, Any]:
        settings: dict[str, Any] = {"rows": ["planner", "noop", "replay"], "episodes": 5, "planner_seeds": 2, "seed": 3}
        protocol = Protocol(offset=20, budget=30, episode_steps=40)
        return evaluate(PointWorld(), TASK, out, planner=PLANNER, protocol=protocol, workers=1, **(settings | changes))

    yield run
    sys.path.remove(str(HERE))


@pytest.fixture(scope="module")
def pieces(play: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The whole run, and its three pieces."""
    folder = tmp_path_factory.mktemp("pieces")
    for number in (1, 2, 3):
        play(folder / str(number), shard=f"{number}/3")
    play(folder / "whole")
    return [folder / "whole", *(folder / str(number) for number in (1, 2, 3))]


def untimed(line: str) -> str:
    """A line of JSON without what tells how long something took, or when and by how many it was done."""
    text = line.strip().rstrip(",")
    if text.startswith('{"instance"'):
        return json.dumps({**json.loads(text), "plan_ms": [], "check": ""})
    return "" if text.startswith(('"date"', '"workers"', '"sha256"', '"p50"', '"p95"', '"p99"')) else line


def assert_same_files(folder: Path, whole: Path) -> None:
    for name in ("results.json", "per_episode.jsonl"):
        merged, single = ((one / name).read_text().splitlines() for one in (folder, whole))
        assert [untimed(line) for line in merged] == [untimed(line) for line in single]
    assert (folder / "instances.json").read_bytes() == (whole / "instances.json").read_bytes()
    names = sorted(path.name for path in (whole / "episodes").iterdir())
    assert sorted(path.name for path in (folder / "episodes").iterdir()) == names


def test_pieces_make_what_one_process_writes(pieces: list[Path], play: Any, tmp_path: Path) -> None:
    whole, *parts = pieces
    records = [json.loads((part / "piece.json").read_text())["shard"] for part in parts]
    assert records == ["1/3", "2/3", "3/3"]
    assert not any((part / "results.json").exists() for part in parts)
    lines = [len((part / "per_episode.jsonl").read_text().splitlines()) - 1 for part in parts]
    assert sum(lines) == 5 * (2 + 1 + 1) and min(lines) >= 5
    merge(reversed(parts), out=tmp_path / "merged")  # type: ignore[arg-type]  # in any order
    assert_same_files(tmp_path / "merged", whole)
    played: list[Any] = []
    longer = play(tmp_path / "merged", episodes=6, on_episode=played.append)  # the merged run can be made longer
    assert len(played) == 2 + 1 + 1 and longer["episodes"] == 6
    with pytest.raises(UserError, match="was made longer since it was merged, it holds 6 instances and the pieces 5"):
        merge(parts, out=tmp_path / "merged")
    assert load_results(tmp_path / "merged")["episodes"] == 6


def test_a_merge_that_was_stopped_goes_on(pieces: list[Path], tmp_path: Path) -> None:
    whole, *parts = pieces
    merge(parts, out=tmp_path)
    (tmp_path / "results.json").unlink()
    journal = tmp_path / "per_episode.jsonl"
    journal.write_bytes(journal.read_bytes()[:-300])
    merge(parts, out=tmp_path)
    assert_same_files(tmp_path, whole)


def test_a_piece_that_was_stopped_goes_on(pieces: list[Path], play: Any, tmp_path: Path) -> None:
    whole, first, second, third = pieces
    shutil.copytree(second, tmp_path / "cut")
    journal = tmp_path / "cut" / "per_episode.jsonl"
    journal.write_bytes(journal.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"cut is unfinished, it has \d+ of \d+ episodes: run its command again"):
        merge([first, tmp_path / "cut", third], out=tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    played: list[Any] = []
    play(tmp_path / "cut", shard="2/3", on_episode=played.append)
    assert len(played) == 1
    merge([first, tmp_path / "cut", third], out=tmp_path / "merged")
    assert_same_files(tmp_path / "merged", whole)


def test_pieces_that_do_not_fit_are_refused_and_nothing_is_written(
    pieces: list[Path], play: Any, tmp_path: Path
) -> None:
    whole, first, second, third = pieces
    out = tmp_path / "merged"
    play(tmp_path / "other", shard="2/3", seed=4)
    play(tmp_path / "half", shard="2/2")
    shutil.copytree(second, tmp_path / "again")
    shutil.copytree(second, tmp_path / "newer")
    newer = json.loads((second / "piece.json").read_text())
    newer["result"]["versions"]["torch"] = "0.1"
    del newer["sha256"]
    from wmplan.checked import write_json_checked

    write_json_checked(tmp_path / "newer" / "piece.json", newer)
    shutil.copytree(second, tmp_path / "holes")
    next((tmp_path / "holes" / "episodes").iterdir()).unlink()
    wrong: list[tuple[list[Path], str]] = [
        ([first, second], r"1 of 3 pieces is missing: 3/3"),
        ([first], r"2 of 3 pieces are missing: 2/3, 3/3"),
        ([first, second, second, third], r"2 is given twice"),
        ([first, second, tmp_path / "again", third], r"piece 2/3 is given twice: .*2 and .*again hold it"),
        ([first, tmp_path / "half", third], r"1 holds piece 1/3 and .*half piece 2/2"),
        ([first, tmp_path / "other", third], r"1 holds a piece with seed=3, .*other has 4: pieces are of one command"),
        ([first, tmp_path / "newer", third], r'versions.torch=".*", .*newer has "0.1"'),
        ([first, tmp_path / "holes", third], r"npz is missing: fetch the whole folder"),
        ([first, whole, third], r"whole holds no piece"),
        ([first, tmp_path / "nowhere", third], r"there is no folder"),
        ([], r"dirs is empty"),
    ]
    for folders, message in wrong:
        with pytest.raises(UserError, match=message):
            merge(folders, out=out)
        assert not out.exists()
    before = (second / "per_episode.jsonl").read_bytes()
    with pytest.raises(UserError, match=r"out=.*2 is one of the pieces, which stay as they are: give another folder"):
        merge([first, second, third], out=second)
    with pytest.raises(UserError, match=r'2 holds a run with shard="2/3", this one has "1/3"'):
        play(second, shard="1/3")
    assert (second / "per_episode.jsonl").read_bytes() == before


@pytest.mark.parametrize("shard", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/3/5"])
def test_a_piece_that_there_is_not(shard: str, play: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="shard must be NUMBER/PIECES"):
        play(tmp_path, shard=shard)


def test_no_more_pieces_than_episodes(play: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="shard must be of at most 5 pieces, for 5 episodes, got 1/6"):
        play(tmp_path, shard="1/6")


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["eval", "rows=[noop]", "model=null", "episodes=2", "workers=1", "protocol.budget=2"]
    for number in (1, 2):
        assert cli.main([*common, f"shard={number}/2", f"out={tmp_path / f'a piece, {number}'}"]) == 0
    assert "piece 2/2 is finished" in capsys.readouterr().out
    folders = [str(tmp_path / f"a piece, {number}") for number in (1, 2)]
    assert cli.main(["merge", *folders, f"out={tmp_path / 'merged'}"]) == 0
    assert "2 held-out instances" in capsys.readouterr().out
    assert (tmp_path / "merged" / "report.html").is_file()
    assert cli.main(["merge", folders[0], f"out={tmp_path / 'none'}"]) == 2
    assert capsys.readouterr().err.strip() == "wmplan merge: 1 of 2 pieces is missing: 2/2; nothing was written"
