"""What a recorder writes, read back by the store, by windows, and after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wmplan.data.meta import DataError
from wmplan.data.recorder import Recorder
from wmplan.data.store import EpisodeStore

SIZE = (8, 10, 3)
ROBOT = {"action_low": (-1.0, -1.0), "action_high": (1.0, 1.0), "control_rate": 10.0}


def frame(number: int) -> np.ndarray:
    return np.full(SIZE, number, np.uint8)


def own(number: int) -> np.ndarray:
    return np.array([number / 10, 0.5], np.float32)


def did(*numbers: int) -> np.ndarray:
    return np.array([[number / 100, -number / 100] for number in numbers], np.float32).reshape(-1, 2)


def recorder(folder: Path, **more: object) -> Recorder:
    return Recorder(folder, **{**ROBOT, "save_seconds": 0.02, **more})  # type: ignore[arg-type]


def run(stream: object, count: int, first: int = 0) -> None:
    """Rows first, first + 1, ..., each action being that of its row."""
    for number in range(first, first + count):
        stream.see(frame(number), own(number), did(number - 1) if number > first else did())  # type: ignore[attr-defined]


def test_episodes_read_as_they_were_seen_however_often_they_were_saved(tmp_path: Path) -> None:
    with_saves = recorder(tmp_path / "data")
    stream = with_saves.stream()
    for number in range(7):
        stream.see(frame(number), own(number), did(number - 1) if number else did())
        if number % 2:
            with_saves.flush()
    stream.end()
    run(stream, 3, 20)
    with_saves.close()
    store = EpisodeStore.open(tmp_path / "data")
    assert store.lengths.tolist() == [7, 3]
    assert store.meta.control_rate == 10 and store.meta.image_size == (8, 10) and "state" not in store.columns
    first = store.episode(0, ("pixels", "proprio", "action", "step_idx"))
    assert first["pixels"][:, 0, 0, 0].tolist() == list(range(7))
    np.testing.assert_array_equal(first["proprio"], [own(number) for number in range(7)])
    np.testing.assert_array_equal(first["action"][:-1], did(*range(6)))
    assert np.isnan(first["action"][-1]).all() and first["step_idx"].ravel().tolist() == list(range(7))
    assert store.episode(1, ("pixels",))["pixels"][:, 0, 0, 0].tolist() == [20, 21, 22]


def test_a_step_without_a_frame_ends_the_episode_and_jitter_does_not(tmp_path: Path) -> None:
    one = recorder(tmp_path)
    stream = one.stream()
    run(stream, 3)
    stream.see(frame(30), own(3), did())  # a second frame in the step of row 2, and none in the next
    stream.see(frame(4), own(4), did(2, 3))
    stream.see(frame(9), own(9), did(4, 5, 6))  # two steps that nobody saw
    stream.see(frame(10), own(10), did(9))
    one.close()
    store = EpisodeStore.open(tmp_path)
    assert [store.episode(e, ("pixels",))["pixels"][:, 0, 0, 0].tolist() for e in (0, 1)] == [[0, 1, 2, 30, 4], [9, 10]]
    np.testing.assert_array_equal(store.episode(0, ("action",))["action"][:-1], did(0, 1, 2, 3))
    assert one.counts.gaps == 1 and "1 gaps" in one.line()


def test_what_cannot_be_beside_the_rest_is_refused_and_counted(tmp_path: Path) -> None:
    one = recorder(tmp_path)
    stream = one.stream()
    run(stream, 3)
    stream.see(np.zeros((4, 4, 3), np.uint8), own(0), did(0))
    stream.see(frame(0), np.array([np.nan, 0], np.float32), did(0))
    stream.see(frame(0), None, did(0))
    stream.see(frame(0).astype(np.float32), own(0), did(0))
    run(stream, 2, 5)
    one.close()
    assert one.counts.refused == 4 and EpisodeStore.open(tmp_path).lengths.tolist() == [3, 2]


def test_robots_share_a_recorder_and_a_folder_goes_on(tmp_path: Path) -> None:
    for _ in range(2):
        one = recorder(tmp_path)
        left, right = one.stream(), one.stream()
        for number in range(4):
            left.see(frame(number), own(number), did(number) if number else did())
            right.see(frame(100 + number), own(number), did(number) if number else did())
        one.close()
    store = EpisodeStore.open(tmp_path)
    assert store.lengths.tolist() == [4] * 4
    firsts = sorted(int(store.read(e, "pixels", 0, 1)[0, 0, 0, 0]) for e in range(4))
    assert firsts == [0, 0, 100, 100]
    store.check_finite()


def test_a_large_episode_goes_on_in_another_one_without_losing_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wmplan.data.recorder.LEAST_ROWS", 5)
    monkeypatch.setattr("wmplan.data.recorder.EPISODE_BYTES", 1)
    one = recorder(tmp_path)
    run(one.stream(), 9)
    one.close()
    store = EpisodeStore.open(tmp_path)
    assert store.lengths.tolist() == [5, 5] and store.read(1, "pixels", 0, 1)[0, 0, 0, 0] == 4


def test_the_limit_stops_the_recording_deletes_nothing_and_is_told(tmp_path: Path) -> None:
    one = recorder(tmp_path, limit_gb=1e-6)
    stream = one.stream()
    run(stream, 5)
    one.flush()
    stream.end()
    run(stream, 5)
    one.flush()
    assert one.stopped is not None and "record_gb" in one.stopped and "stopped" in one.line()
    run(stream, 5)  # the robot goes on
    one.close()
    assert EpisodeStore.open(tmp_path).lengths.tolist() == [5]


def test_frames_beyond_the_queue_are_dropped_counted_and_no_episode_spans_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = recorder(tmp_path)
    stream = one.stream()
    run(stream, 3)
    one.flush()
    monkeypatch.setattr("wmplan.data.recorder.QUEUE_BYTES", 0)
    stream.see(frame(3), own(3), did(2))
    monkeypatch.undo()
    run_on = [frame(4), frame(5)]
    for number, pixels in enumerate(run_on, 4):
        stream.see(pixels, own(number), did(number - 1))
    one.close()
    assert one.counts.dropped == 1 and "1 frames dropped" in one.line()
    assert EpisodeStore.open(tmp_path).lengths.tolist() == [3, 2]


def test_a_disk_that_fails_ends_the_recording_and_not_the_robot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = recorder(tmp_path)

    def full(*_: object) -> None:
        raise DataError("could not write: No space left on device")

    monkeypatch.setattr("wmplan.data.shard_writer.write_file", full)
    stream = one.stream()
    run(stream, 4)
    one.flush(5)
    stream.see(frame(0), own(0), did(0))
    assert one.stopped == "could not write: No space left on device"
    one.close()


@pytest.mark.parametrize("kind", ["file", "foreign", "other robot", "in use"])
def test_a_folder_of_something_else_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    folder, other, keep = tmp_path / "data", {}, None
    if kind == "file":
        folder.write_text("x")
    elif kind == "foreign":
        folder.mkdir()
        (folder / "thesis.txt").write_text("x")
    else:
        keep = recorder(folder)
        run(keep.stream(), 3)
        keep.flush()
        if kind == "other robot":
            keep.close()
            other = {"action_high": (2.0, 2.0)}
    with pytest.raises(DataError) as told:
        recorder(folder, **other)
    assert str(folder) in str(told.value) and "\n" not in str(told.value)
    if keep is not None:
        keep.close()


KILLED = """
import os, signal, sys, time
import numpy as np
from wmplan.data.recorder import Recorder
one = Recorder(sys.argv[1], action_low=(-1, -1), action_high=(1, 1), control_rate=10, save_seconds=0.05)
stream = one.stream()
for number in range(40):
    stream.see(np.full((8, 10, 3), number, np.uint8), None, np.zeros((min(number, 1), 2), np.float32))
    if number == 29:
        one.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_costs_the_last_moments_alone(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env={**os.environ}, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    store = EpisodeStore.open(tmp_path)
    assert len(store) == 1 and store.lengths[0] >= 30
    assert store.read(0, "pixels", 0, 30)[:, 0, 0, 0].tolist() == list(range(30))
    one = recorder(tmp_path)  # the lock went with the process
    run(one.stream(), 2)
    one.close()
