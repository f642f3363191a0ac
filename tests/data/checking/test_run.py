"""What is broken in a recording is found, by name, episode and row; and nothing is found where nothing is broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wmplan import cli
from wmplan.data.checking.finding import Finding
from wmplan.data.checking.run import find
from wmplan.data.reader import open_data

Recording = Callable[..., Path]
Columns = dict[str, Any]


def findings(path: Path, **options: Any) -> list[Finding]:
    return list(find(open_data(path, allow_nan=True), **options))


def test_nothing_is_found_where_all_is_well(recording: Recording, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(3):
        assert findings(recording(seed=seed)) == []
    assert cli.main(["data", "check", str(recording())]) == 0
    assert "6 episodes, 360 rows: 0 serious, 0 notes" in capsys.readouterr().out


def nan_action(columns: Columns) -> None:
    columns["action"][60 * 2 + 7] = np.nan


def infinite_state(columns: Columns) -> None:
    columns["proprio"][60 * 5 + 59] = np.inf


def black(columns: Columns) -> None:
    columns["pixels"][60 * 3 + 10 : 60 * 3 + 20] = 3


def frozen(columns: Columns) -> None:
    columns["pixels"][60 + 30 : 60 + 55] = columns["pixels"][60 + 29]


def lossy_copies(columns: Columns) -> None:
    """Every third frame is that of the row before, but for what a codec changes."""
    for row in range(60 * 4 + 2, 60 * 5, 3):
        columns["pixels"][row] = columns["pixels"][row - 1] + np.uint8(1)


def few_copies(columns: Columns) -> None:
    ways = np.abs(np.diff(columns["proprio"], axis=0, prepend=0)).max(axis=1)[62:120]
    for row in 62 + np.argsort(ways)[-3:]:  # where the square goes fastest
        columns["pixels"][row] = columns["pixels"][row - 1]


def gap(columns: Columns) -> None:
    columns["timestamp"][60 * 2 + 20 : 60 * 3] += 0.4


def backwards(columns: Columns) -> None:
    columns["timestamp"][60 * 2 + 20] = 0


def drift(columns: Columns) -> None:
    columns["timestamp"] *= 1.001
    columns["timestamp"][60:120] *= 1.06


def still_number(columns: Columns) -> None:
    columns["action"][:, 1] = np.where(np.isnan(columns["action"][:, 1]), np.nan, 0.25)


def still_episode(columns: Columns) -> None:
    columns["action"][180:239] = columns["action"][180]


def saturated(columns: Columns) -> None:
    columns["action"] = np.clip(columns["action"], -0.4, 0.4)


def twins(columns: Columns) -> None:
    for name in ("action", "proprio"):
        columns[name][240:300] = columns[name][60:120]


def one_row(columns: Columns) -> None:
    columns["ep_len"] = np.append(columns["ep_len"], 1)
    columns["ep_len"][5] = 59
    columns["ep_offset"] = np.append(columns["ep_offset"], 359)


def lost(columns: Columns) -> None:
    columns["frame_index"] = np.tile(np.arange(60), 6)
    columns["frame_index"][60 + 41 : 120] += 3


@pytest.mark.parametrize(
    ("edit", "kind", "serious", "episode", "row"),
    [
        (nan_action, "not finite", True, 2, 7),
        (infinite_state, "not finite", True, 5, 59),
        (black, "dead camera", True, 3, 10),
        (frozen, "camera stands still", True, 1, 30),
        (lossy_copies, "repeated frames", True, 4, None),
        (few_copies, "repeated frames", False, 1, None),
        (gap, "gap in time", True, 2, 20),
        (backwards, "time stamps", True, 2, 20),
        (drift, "time stamps drift", True, 1, None),
        (still_number, "constant action", False, None, None),
        (still_episode, "constant action", False, 3, None),
        (saturated, "saturated action", False, 0, None),
        (twins, "same episode twice", False, 4, None),
        (one_row, "short episode", False, 6, None),
        (lost, "lost rows", True, 1, 41),
    ],
)
def test_what_is_broken_is_found_where_it_is(
    edit: Any, kind: str, serious: bool, episode: int | None, row: int | None, recording: Recording
) -> None:
    path = recording(edit)
    found = [one for one in findings(path) if one.kind == kind]
    assert found and found[0].serious == serious and found[0].episode == episode, findings(path)
    assert row is None or found[0].row == row, found
    assert cli.main(["data", "check", str(path)]) == int(any(one.serious for one in findings(path)))


@pytest.mark.parametrize("shift", [-2, -1, 1, 2])
def test_actions_in_the_wrong_row_are_found_and_mended(
    shift: int, recording: Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that stand too late precede what they do; those that stand too early may be of a slow robot."""

    def move(columns: Columns) -> None:
        for first in range(0, 360, 60):
            columns["action"][first : first + 60] = np.nan_to_num(
                np.roll(columns["action"][first : first + 60], shift, 0)
            )
            columns["action"][first + 59] = np.nan

    path = recording(move)
    (found,) = findings(path)
    assert found.kind == "actions and frames" and found.serious == (shift > 0)
    assert "best in 100% of 500 draws" in found.message and f"shift={-shift}" in found.message
    if shift < 0:
        assert findings(path, latency=-shift) == [] and f"latency={-shift}" in found.message
    out = tmp_path / "mended"
    assert cli.main(["data", "convert", str(path), f"out={out}", f"shift={-shift}"]) == 0
    assert findings(out) == []
    assert open_data(out).lengths.tolist() == [60 - abs(shift)] * 6


def test_what_no_action_explains_is_not_guessed(recording: Recording) -> None:
    def scramble(columns: Columns) -> None:
        order = np.random.default_rng(1).permutation(360)
        columns["action"] = np.nan_to_num(columns["action"][order])
        columns["action"][59::60] = np.nan

    (found,) = findings(recording(scramble))
    assert found.kind == "alignment not known" and not found.serious


def test_what_cannot_be_opened_is_a_finding_and_what_is_not_there_a_mistake(
    recording: Recording, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recording()
    path.write_bytes(path.read_bytes()[:4000])
    assert cli.main(["data", "check", str(path)]) == 1
    assert "serious  cannot be opened: " in capsys.readouterr().out
    assert cli.main(["data", "check", "no/such"]) == 2
    assert "no/such is no data set: it does not exist" in capsys.readouterr().err
    assert cli.main(["data", "check", str(recording()), "latency=9"]) == 2
    assert "latency must be from 0 to 3 rows, got 9" in capsys.readouterr().err


def test_frames_that_cannot_be_read_are_one_finding(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    from wmplan.data.meta import DataError

    data = open_data(recording())
    read = data.read

    def broken(episode: int, name: str, start: int, stop: int) -> Any:
        if episode == 4 and name == "pixels":
            raise DataError("film.mp4 has 9 frames")
        return read(episode, name, start, stop)

    monkeypatch.setattr(data, "read", broken)
    (found,) = find(data)
    assert str(found) == "serious  unreadable frames: episode 4: film.mp4 has 9 frames"


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_times_that_are_not_finite_are_found(value: float, recording: Recording) -> None:
    def edit(columns: Columns) -> None:
        columns["timestamp"][60 * 4 + 59] = value

    (found,) = findings(recording(edit))
    assert (found.kind, found.serious, found.episode, found.row) == ("time stamps", True, 4, 59)
    assert found.message == f"the time is not finite in 1 row, {value} here"

    def edit_all(columns: Columns) -> None:
        columns["timestamp"][:] = value

    assert [one.episode for one in findings(recording(edit_all))] == list(range(6))
