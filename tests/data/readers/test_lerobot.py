"""LeRobot's format v3.0: every row and frame is where its documentation says, in any codec, with any cameras."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wmplan.data.meta import DataError
from wmplan.data.reader import open_data

Write = Callable[..., Path]
Episodes = list[dict[str, Any]]


def require_same(found: Any, episodes: Episodes) -> None:
    """The reader gives these episodes, whole and in slices."""
    assert found.lengths.tolist() == [len(one["action"]) for one in episodes]
    for index in (2, 0, 3, 1, 2):  # back and forth through the files
        for start, stop in ((0, len(episodes[index]["action"])), (3, 5), (1, 4)):
            for name, expected in episodes[index].items():
                rows = found.episode(index, [name], start, stop)[name]
                np.testing.assert_array_equal(rows, expected[start:stop], err_msg=f"{name} of {index} from {start}")


@pytest.mark.parametrize("kind", ["video", "image"])
def test_rows_and_frames_are_found_by_number(kind: str, write_lerobot: Write, episodes: Episodes) -> None:
    folder = write_lerobot(episodes, kind=kind)
    for path in (folder, f"lerobot:{folder}"):
        found = open_data(path, task="mine/Task-v0")
        require_same(found, episodes)
        np.testing.assert_array_equal(found.column("pixels"), np.concatenate([one["pixels"] for one in episodes]))
    assert found.meta.control_rate == 10 and found.meta.image_size == (32, 48)
    assert found.meta.action_names == ("x", "y") and found.meta.proprio_names == ("a", "b", "c")
    assert found.meta.task == "mine/Task-v0" and max(found.meta.action_high) == 12  # not the 9s of last rows, nor NaN
    assert {"timestamp", "frame_index"} <= set(found.columns) and found.columns["timestamp"][0] == ()


@pytest.mark.parametrize(("codec", "tolerance"), [("libx264", 6), ("libsvtav1", 12)])
def test_lossy_videos_show_each_frame_in_its_place(
    codec: str, tolerance: float, write_lerobot: Write, episodes: Episodes
) -> None:
    for one in episodes:
        one["pixels"] = np.repeat(np.repeat(one["pixels"], 4, axis=1), 4, axis=2)  # encoders want 64 pixels
    found = open_data(write_lerobot(episodes, codec=codec))
    for index, one in enumerate(episodes):
        seen = found.episode(index, ["pixels"])["pixels"]
        apart = np.abs(seen[:, None].astype(float) - one["pixels"][None].astype(float)).mean(axis=(2, 3, 4))
        assert apart.argmin(axis=1).tolist() == list(range(len(seen))) and apart.diagonal().max() < tolerance


def test_a_camera_is_chosen(write_lerobot: Write, episodes: Episodes) -> None:
    folder = write_lerobot(episodes, cameras=("top", "wrist"))
    with pytest.raises(DataError, match=r"2 cameras, observation.images.top, observation.images.wrist: .*camera="):
        open_data(folder)
    with pytest.raises(DataError, match=r"no camera 'side'; it has observation.images.top, observation.images.wrist"):
        open_data(folder, camera="side")
    for shift, name in enumerate(("top", "wrist")):
        found = open_data(folder, camera=f"observation.images.{name}")
        np.testing.assert_array_equal(found.episode(2)["pixels"], episodes[2]["pixels"] + np.uint8(shift))


@pytest.mark.parametrize("kind", ["video", "image"])
def test_several_cameras_are_read_by_their_names(write_lerobot: Write, episodes: Episodes, kind: str) -> None:
    names = ("observation.images.wrist", "observation.images.top")
    found = open_data(write_lerobot(episodes, cameras=("top", "wrist"), kind=kind), cameras=names)
    assert found.cameras == names and "pixels" not in found.columns
    for index, one in enumerate(episodes):
        rows = found.episode(index)
        for shift, name in enumerate(reversed(names)):
            brighter = np.uint8(shift if kind == "video" else 0)
            np.testing.assert_array_equal(rows[name], one["pixels"] + brighter)


def test_scrambled_and_missing_episode_numbers(write_lerobot: Write, episodes: Episodes) -> None:
    def scramble(info: Any, table: Any, rows: Any) -> None:
        for one in (*table, *rows):
            one["episode_index"] = {0: 17, 1: 4, 2: 900, 3: 5}[one["episode_index"]]
        table.reverse()

    found = open_data(write_lerobot(episodes, edit=scramble))
    for index, number in enumerate((1, 3, 0, 2)):  # 4, 5, 17, 900
        np.testing.assert_array_equal(found.episode(index)["pixels"], episodes[number]["pixels"])
        np.testing.assert_array_equal(found.episode(index)["action"], episodes[number]["action"])


def test_time_stamps_that_drift_do_no_harm(write_lerobot: Write, episodes: Episodes) -> None:
    def drift(info: Any, table: Any, rows: Any) -> None:
        for row in rows:
            row["timestamp"] *= 1.05
        for one in table:
            one["videos/observation.images.top/from_timestamp"] += 0.03  # a third of a frame

    require_same(open_data(write_lerobot(episodes, edit=drift)), episodes)


def set_version(version: Any) -> Any:
    return lambda info, table, rows: info.update(codebase_version=version)


def put(where: str, **values: Any) -> Any:
    """An edit of info, of the first entry of the table of episodes, or of the first row."""

    def edit(info: Any, table: Any, rows: Any) -> None:
        {"info": info, "table": table[0], "row": rows[0]}[where].update(values)

    return edit


def drop_action(info: Any, table: Any, rows: Any) -> None:
    for row in rows:
        del row["action"]


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (set_version("v2.1"), r"format v2.1, which is not read; .*lerobot.scripts.convert_dataset_v21_to_v30"),
        (set_version("v9"), "codebase_version must be v3.0, got 'v9'"),
        (put("info", fps=0), "fps must be a number above 0"),
        (put("info", features=[]), "features must map names"),
        (put("info", data_path="../{chunk_index}/{file_index}"), "outside the data set's folder"),
        (put("info", data_path="/etc/{chunk_index}"), "outside the data set's folder"),
        (put("info", data_path="{chunk_index:099999999d}"), "is no path like"),
        (put("info", data_path="{chunk_index.__class__}"), "is no path like"),
        (put("table", length=10**13), "numbers must be from 0 to"),
        (put("table", length=8), r"has 9 rows of episode 0, meta/episodes says 8"),
        (put("table", episode_index=1), "episode 1 is there twice"),
        (put("table", **{"data/file_index": 7}), "file-007.parquet is missing"),
        (put("table", **{"data/file_index": -1}), "numbers must be from 0 to"),
        (put("table", **{"videos/observation.images.top/file_index": 7}), "file-007.mp4 is missing"),
        (put("row", episode_index=77), "has 8 rows of episode 0"),
        (put("row", action=[1.0]), "column 'action' .*lists of different lengths"),
        (drop_action, "has no column 'action'; it has"),
    ],
)
def test_what_contradicts_itself_is_one_line(edit: Any, says: str, write_lerobot: Write, episodes: Episodes) -> None:
    folder = write_lerobot(episodes, edit=edit)
    with pytest.raises(DataError, match=says) as caught:
        open_data(folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_damaged_files_are_one_line(write_lerobot: Write, write_video: Any, episodes: Episodes) -> None:
    folder = write_lerobot(episodes)
    for file in sorted(folder.rglob("file-000.*")):
        content = file.read_bytes()
        for damaged in (b"", content[: len(content) // 2], b"\0" * len(content)):
            file.write_bytes(damaged)
            with pytest.raises(DataError, match=file.name) as caught:
                open_data(folder).column("pixels")
            assert "\n" not in str(caught.value)
        file.write_bytes(content)
    video = next(folder.rglob("file-000.mp4"))
    write_video(video, episodes[0]["pixels"])  # of the first episode alone
    found = open_data(folder)
    np.testing.assert_array_equal(found.episode(0)["pixels"], episodes[0]["pixels"])
    with pytest.raises(DataError, match="has 9 frames, episode 2 takes the frames 9 to 22"):
        found.episode(2)


def test_a_playlist_is_no_video(write_lerobot: Write, episodes: Episodes, tmp_path: Path) -> None:
    """libav would open the files and addresses that a playlist names."""
    folder = write_lerobot(episodes)
    video = next(folder.rglob("file-000.mp4"))
    (tmp_path / "other.mp4").write_bytes(video.read_bytes())
    for text in (f"ffconcat version 1.0\nfile {tmp_path}/other.mp4\n", f"#EXTM3U\n#EXTINF:1,\n{tmp_path}/other.mp4\n"):
        video.write_text(text)
        with pytest.raises(DataError, match="cut short or damaged"):
            open_data(folder)


def test_pictures_of_other_sizes_or_kinds_are_one_line(write_lerobot: Write, episodes: Episodes) -> None:
    key = "observation.images.top"
    small = write_lerobot(episodes[:1], "small", kind="image")
    cell = next(iter(open_rows(small)))[key]["bytes"]
    for number, (content, says) in enumerate(
        ((b"GIF89a", "no PNG or JPEG"), (None, "no PNG or JPEG"), (cell, "32 x 48, it must be 16 x 24"))
    ):

        def edit(info: Any, table: Any, rows: Any, content: Any = content) -> None:
            rows[4][key] = {"bytes": content, "path": "/etc/passwd"}

        half = [{**one, "pixels": one["pixels"][:, ::2, ::2]} for one in episodes]
        folder = write_lerobot(half, f"broken{number}", kind="image", edit=edit)
        with pytest.raises(DataError, match=f"episode 0, frame 4.* {says}"):
            open_data(folder).episode(0)


def open_rows(folder: Path) -> Any:
    import pyarrow.parquet as parquet

    return parquet.read_table(next((folder / "data").rglob("*.parquet"))).to_pylist()


def test_a_reader_travels_to_another_process(write_lerobot: Write, episodes: Episodes) -> None:
    import pickle

    found = open_data(write_lerobot(episodes))
    found.episode(0)
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.episode(2)["pixels"], episodes[2]["pixels"])


def test_frames_that_would_be_decoded_in_every_epoch_are_told(write_lerobot: Write, episodes: Episodes) -> None:
    from wmplan.data.sampler import WindowSampler

    found = open_data(write_lerobot(episodes))
    with pytest.warns(UserWarning, match="decoded anew in every epoch.*wmplan data convert"):
        windows = WindowSampler(found, 2, 1, 4, memory=False, group=2)
    whole = WindowSampler(found, 2, 1, 4, memory=True)
    assert windows.num_windows == whole.num_windows == 26
    assert sum(len(batch["pixels"]) for batch in windows.once()) == 26


def test_two_threads_may_read(write_lerobot: Write, episodes: Episodes) -> None:
    from concurrent.futures import ThreadPoolExecutor

    found = open_data(write_lerobot(episodes))
    numbers = np.random.default_rng(0).integers(0, 4, 60).tolist()
    with ThreadPoolExecutor(4) as pool:
        for number, rows in zip(numbers, pool.map(found.episode, numbers), strict=True):
            np.testing.assert_array_equal(rows["pixels"], episodes[number]["pixels"])


def test_files_that_grow_when_they_are_read_are_refused(
    write_lerobot: Write, episodes: Episodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of one value takes no room in the file; a picture says its size before it is decoded."""
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    folder = write_lerobot(episodes)
    (data,) = (folder / "data").rglob("file-000.parquet")
    rows = parquet.read_table(data)
    from wmplan.data.readers import parquet_file

    many = pa.table({"episode_index": pa.array(np.zeros(parquet_file.MOST_ROWS + 1, np.int8))})
    parquet.write_table(many, data)
    assert data.stat().st_size < 1 << 20
    with pytest.raises(DataError, match="claims 33554433 rows"):
        open_data(folder)
    wide = pa.array([[0.0] * 100_000] * len(rows))
    parquet.write_table(rows.set_column(rows.column_names.index("action"), "action", wide), data)
    monkeypatch.setattr(parquet_file, "MOST_BYTES", 1 << 20)
    with pytest.raises(DataError, match="column 'action' takes 0.0 GB in row group 0, at most"):
        open_data(folder)


def test_a_picture_that_claims_to_be_huge_is_not_decoded(write_lerobot: Write, episodes: Episodes) -> None:
    import struct
    import zlib

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))

    def edit(row: int) -> Any:
        return lambda info, table, rows: rows[row].update({"observation.images.top": {"bytes": bomb, "path": None}})

    with pytest.raises(DataError, match="row 0 is 60000 x 60000, it must be at most|no PNG or JPEG"):
        open_data(write_lerobot(episodes, "first", kind="image", edit=edit(0)))
    with pytest.raises(DataError, match="frame 3 is 60000 x 60000, it must be 32 x 48|frame 3 is no PNG"):
        open_data(write_lerobot(episodes, "fourth", kind="image", edit=edit(3))).episode(0)


def test_odd_layouts_are_read_or_refused(write_lerobot: Write, episodes: Episodes) -> None:
    """Whole numbers as actions, no robot state, text, a column of lists, one number that is no list."""

    def edit(info: Any, table: Any, rows: Any) -> None:
        for row in rows:
            row["action"] = [int(value) for value in row["action"]]
            del row["observation.state"]
            row["note"], row["force"], row["grip"] = "hm", [[0.5, 1.0], [2.0, 3.0]], row["frame_index"] / 2

    found = open_data(write_lerobot(episodes, edit=edit))
    assert "proprio" not in found.columns and found.columns["action"] == ((2,), np.dtype(np.float64))
    np.testing.assert_array_equal(found.episode(2)["action"], episodes[2]["action"])
    assert found.columns["force"][0] == (2, 2) and found.columns["grip"][0] == ()
    assert found.episode(0, ["force"])["force"].shape == (9, 2, 2)
    assert "holds text or bytes" in str(found.column_problem("note"))

    def one_number(info: Any, table: Any, rows: Any) -> None:
        for row in rows:
            row["action"] = float(row["frame_index"])

    assert open_data(write_lerobot(episodes, "single", edit=one_number)).episode(2)["action"].shape == (14, 1)

    def text(info: Any, table: Any, rows: Any) -> None:
        for row in rows:
            row["action"] = "left"

    with pytest.raises(DataError, match="column 'action' holds text or bytes, it has to hold numbers"):
        open_data(write_lerobot(episodes, "text", edit=text))


PROGRAM = """
import sys, numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
picture = {"dtype": sys.argv[2], "shape": (64, 96, 3), "names": ["height", "width", "channels"]}
numbers = {"dtype": "float32", "shape": (2,), "names": ["x", "y"]}
features = {"action": numbers, "observation.state": numbers}
features |= {f"observation.images.{name}": picture for name in ("top", "wrist")}
options = {"root": sys.argv[1], "use_videos": sys.argv[2] == "video"}
data = LeRobotDataset.create("wmplan/test", fps=30, features=features, **options)
for episode, rows in enumerate((12, 1, 20, 7)):
    for row in range(rows):
        frame = {"action": np.array([episode, row], np.float32), "task": "push"}
        frame["observation.state"] = np.array([row, -episode], np.float32)
        for name, grey in (("top", 30), ("wrist", 70)):
            image = np.full((64, 96, 3), grey, np.uint8)
            image[10:30, 3 * row : 3 * row + 20] = (200, 10 * episode, 90)
            frame[f"observation.images.{name}"] = image
        data.add_frame(frame)
    data.save_episode()
data.finalize()
read = LeRobotDataset("wmplan/test", root=sys.argv[1], video_backend="pyav")
seen = {}
for name in ("top", "wrist"):
    frames = [read[index][f"observation.images.{name}"] for index in range(len(read))]
    seen[name] = np.stack([(frame * 255).round().byte().numpy().transpose(1, 2, 0) for frame in frames])
np.savez(sys.argv[3], **seen)
"""


@pytest.mark.parametrize("kind", ["video", "image"])
def test_what_the_published_lerobot_writes(kind: str, tmp_path: Path) -> None:
    """AV1 videos that it joins, and images: frames are those that it reads itself."""
    import os
    import subprocess

    python = os.environ.get("WMPLAN_LEROBOT_PYTHON")
    if not python:
        pytest.skip("WMPLAN_LEROBOT_PYTHON names no Python with lerobot")
    folder, own = tmp_path / "theirs", tmp_path / "own.npz"
    home = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    command = [python, "-c", PROGRAM, str(folder), kind, str(own)]
    done = subprocess.run(command, env=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for name in ("top", "wrist"):
        found = open_data(folder, camera=f"observation.images.{name}")
        assert found.lengths.tolist() == [12, 1, 20, 7] and found.meta.control_rate == 30
        seen, expected = found.column("pixels"), np.load(own)[name]
        assert np.abs(seen.astype(int) - expected).max() <= 2  # rounding of colours
        for episode, rows in enumerate((12, 1, 20, 7)):
            assert found.episode(episode)["action"][:-1, 1].tolist() == list(range(rows - 1))
            assert found.episode(episode)["proprio"].tolist() == [[row, -episode] for row in range(rows)]
