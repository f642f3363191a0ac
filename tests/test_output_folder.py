"""Nothing that another command wrote is written over, and a folder that cannot be written into is said at the start."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wmplan import cli
from wmplan.demo import run_demo
from wmplan.errors import UserError
from wmplan.evaluation import Protocol, evaluate
from wmplan.evaluation.journal import Journal, encode
from wmplan.output_folder import check_folder, make_folder
from wmplan.robot_sim.config import RobotConfig
from wmplan.robot_sim.run import check_results_folder, run_robot, settings_of

TASK = "wmplan.envs:wmplan/PushT-v0"


def play(out: Path | str, **options: Any) -> dict[str, Any]:
    protocol = Protocol(offset=12, budget=3, episode_steps=40)
    return evaluate(None, TASK, out, protocol=protocol, episodes=1, rows=["noop"], workers=1, **options)


def drive(out: Path | str) -> None:
    run_robot(RobotConfig(TASK, Path(out), url=None))


def demonstrate(out: Path | str) -> None:
    run_demo(out, budget=2, say=lambda line: None)


@pytest.mark.parametrize(
    ("write", "names"),
    [
        (play, ["report.html", "results.json", "episodes/episode-0.npz", "instances.json", "diagnosis.json"]),
        (demonstrate, ["report.html", "plan.png", "still.png"]),
        (drive, ["results.json"]),
    ],
)
def test_what_another_command_wrote_stays(write: Callable[[Path], None], names: list[str], tmp_path: Path) -> None:
    for name in names:
        out = tmp_path / name.replace("/", "-")
        path = out / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"of something else")
        with pytest.raises(
            UserError, match=rf"holds {Path(name).parts[0]}, which is not of an? .*give another out=DIR"
        ):
            write(out)
        assert [one for one in out.rglob("*") if one.is_file()] == [path] and path.read_bytes() == b"of something else"


@pytest.mark.parametrize("write", [play, demonstrate, drive])
def test_what_is_no_folder_is_said_before_anything_is_computed(write: Callable[[Any], None], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for out in (tmp_path / "file", tmp_path / "file" / "inside", Path("/proc/nothing"), tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match=f"^out={out}.* cannot be made: "):
            write(out)
    with pytest.raises(UserError, match="out is empty"):
        check_folder("", "a demo", [], [])


def test_a_disk_that_cannot_be_written_is_said_at_the_start() -> None:
    with pytest.raises(UserError, match="out=/proc/self cannot be written into"):
        make_folder(Path("/proc/self"))


def test_folders_with_other_files_and_ones_own_are_taken(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "episodes").mkdir()
    first = play(tmp_path)
    assert play(tmp_path)["rows"]["noop"]["success"] == first["rows"]["noop"]["success"]


def test_an_evaluation_of_which_no_episode_was_finished_binds_nobody(tmp_path: Path) -> None:
    path = tmp_path / "per_episode.jsonl"
    with Journal(path, {"seed": 0}):
        pass
    with Journal(path, {"seed": 1}) as journal:
        journal.append({"row": "noop", "planner_seed": 0, "instance": 0})
    assert path.read_bytes().startswith(encode({"seed": 1}))
    with pytest.raises(UserError, match="holds a run with seed=1, this one has 2"):
        Journal(path, {"seed": 2})


def test_results_of_another_run_of_the_robot_are_not_replaced_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = RobotConfig(TASK, tmp_path, url=None)
    before = {"schema": 1, "loop": {}, "settings": settings_of(config)}
    (tmp_path / "results.json").write_text(json.dumps(before))
    check_results_folder(config)
    assert capsys.readouterr().err == ""
    check_results_folder(replace(config, episodes=3))
    said = f"{tmp_path} held the results of a run with episodes=1, this one has 3: they are replaced\n"
    assert capsys.readouterr().err == said


def test_bench_says_before_it_measures_that_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert cli.main(["bench", f"out={tmp_path}/file"]) == 2
    assert "cannot be made" in capsys.readouterr().err
