"""What is converted says the same as what it came from, whichever way; and a run that was cut goes on."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from wmplan import cli
from wmplan.data.conversion import convert_data
from wmplan.data.converted import resized
from wmplan.data.meta import DataError, StoreMeta
from wmplan.data.reader import open_data
from wmplan.data.shard_writer import EpisodeWriter
from wmplan.data.store import EpisodeStore, shard_path
from wmplan.errors import UserError

Store = Callable[..., EpisodeStore]
NAMES = ("pixels", "action", "proprio", "state", "physics_state")


def folder_of(store: EpisodeStore) -> Path:
    return store.paths[0].parent.parent


def require_same(one: Any, other: Any, names: tuple[str, ...] = NAMES) -> None:
    assert one.lengths.tolist() == other.lengths.tolist()
    for name in names:
        np.testing.assert_array_equal(one.column(name), other.column(name), err_msg=name)
        assert one.columns[name] == other.columns[name]


@pytest.fixture
def larger(tmp_path: Path) -> Path:
    """A collection with frames that encoders of videos take."""
    folder, rng = tmp_path / "collection", np.random.default_rng(0)
    lengths = (9, 2, 14, 6)
    (folder / "shards").mkdir(parents=True)
    writer = EpisodeWriter(shard_path(folder, 0))
    for number, rows in enumerate(lengths):
        action = rng.uniform(-1, 1, (rows, 2)).astype(np.float32)
        action[-1] = np.nan
        columns = {"pixels": rng.integers(0, 256, (rows, 64, 80, 3), np.uint8), "action": action}
        columns |= {"proprio": rng.normal(size=(rows, 3)).astype(np.float32), "state": rng.normal(size=(rows, 1))}
        writer.add(number, columns | {"physics_state": rng.normal(size=(rows, 5)), "note": np.arange(rows)})
    writer.save()
    meta = StoreMeta("mine/Task-v0", 0, 4, None, 4, 12.5, (64, 80), (-1.0, -1.0), (1.0, 1.0), ("x", "y"))
    meta.write(folder)
    return folder


@pytest.mark.parametrize("video", ["lossless", "images"])
def test_there_and_back_without_loss(video: Any, larger: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    store = open_data(larger)
    convert_data(str(larger), str(tmp_path / "lerobot"), "lerobot", video=video)
    theirs = open_data(tmp_path / "lerobot")
    assert type(theirs).__name__ == "LeRobotFolder" and theirs.meta.control_rate == 12.5
    assert theirs.meta.action_names == ("x", "y")
    require_same(theirs, store)
    convert_data(str(tmp_path / "lerobot"), str(tmp_path / "back"))
    back = EpisodeStore.open(tmp_path / "back", task="mine/Task-v0")  # which LeRobot does not keep
    require_same(back, store)
    require_same(open_data(tmp_path / "back" / "episodes.h5"), store)
    assert back.meta.control_rate == 12.5 and back.meta.image_size == (64, 80)
    np.testing.assert_array_equal(back.column("note"), store.column("note"))


def test_files_are_split_by_size(larger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    monkeypatch.setattr("wmplan.data.lerobot_writer.FILE_BYTES", 1000)
    monkeypatch.setattr("wmplan.data.lerobot_films.VIDEO_BYTES", 1000)
    monkeypatch.setattr("wmplan.data.lerobot_films.CHUNK_FILES", 2)
    monkeypatch.setattr("wmplan.data.conversion.SHARD_BYTES", 1 << 19)
    convert_data(str(larger), str(tmp_path / "lerobot"), "lerobot")
    assert (tmp_path / "lerobot" / "data" / "chunk-001" / "file-000.parquet").is_file()
    assert len(list((tmp_path / "lerobot").rglob("*.mp4"))) > 1
    require_same(open_data(tmp_path / "lerobot"), open_data(larger))
    convert_data(str(tmp_path / "lerobot"), str(tmp_path / "back"))
    assert len(list((tmp_path / "back" / "shards").iterdir())) > 1
    require_same(open_data(tmp_path / "back"), open_data(larger))


def test_av1_is_close(larger: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    smooth = resized(np.random.default_rng(0).integers(0, 256, (20, 3, 4, 3), np.uint8), 64, 80)
    path = write_episode(tmp_path / "smooth", smooth)
    convert_data(str(path), str(tmp_path / "lerobot"), "lerobot", video="av1")
    apart = np.abs(open_data(tmp_path / "lerobot").column("pixels").astype(int) - smooth)
    assert 0 < apart.mean() < 12
    with pytest.raises(UserError, match="frames of 63 x 80 cannot be AV1"):
        convert_data(str(path), str(tmp_path / "odd"), "lerobot", video="av1", image_size=(63, 80))
    assert not (tmp_path / "odd").exists() and not list(tmp_path.glob(".odd*"))


def write_episode(folder: Path, frames: Any) -> Path:
    """A collection of one episode with these frames."""
    (folder / "shards").mkdir(parents=True)
    writer = EpisodeWriter(shard_path(folder, 0))
    writer.add(0, {"pixels": frames, "action": np.zeros((len(frames), 1), np.float32)})
    writer.save()
    StoreMeta(None, 0, 1, None, 1, 10.0, frames.shape[1:3], (0.0,), (1.0,)).write(folder)
    return folder


def test_frames_are_brought_to_a_size(make_store: Store, tmp_path: Path) -> None:
    store = make_store([5, 3])
    told = convert_data(str(folder_of(store)), str(tmp_path / "small"), image_size=(2, 5))
    assert "note: frames of 4 x 5 are stretched to 2 x 5" in told
    small = open_data(tmp_path / "small")
    expected = store.column("pixels").reshape(8, 2, 2, 5, 3).mean(axis=2)
    np.testing.assert_allclose(small.column("pixels"), expected, atol=0.51)
    assert small.meta.image_size == (2, 5)


@pytest.mark.parametrize("shift", [2, -2])
def test_actions_are_moved_by_rows(shift: int, make_store: Store, tmp_path: Path) -> None:
    store = make_store([9, 2, 1, 5])
    told = convert_data(str(folder_of(store)), str(tmp_path / "moved"), shift=shift)
    assert "note: 2 of 4 episodes left out, without rows" in told
    moved = open_data(tmp_path / "moved")
    assert moved.lengths.tolist() == [7, 3]
    rows = moved.episode(0)
    np.testing.assert_array_equal(rows["action"][:-1, 1], np.arange(6) + max(-shift, 0))
    np.testing.assert_array_equal(rows["proprio"][:, 0], np.arange(7) + max(shift, 0))
    assert np.isnan(rows["action"][-1]).all()


def test_what_cannot_be_written_is_left_out_and_told(wild_file: Callable[..., Path], tmp_path: Path) -> None:
    def edit(file: Any) -> None:
        file["reward"] = np.full(24, np.nan)
        file["text"] = np.array([b"a"] * 24)
        file["depth"] = np.ones((24, 4, 5))

    told = convert_data(str(wild_file(edit)), str(tmp_path / "out"), control_rate=20)
    assert "note: left out, without finite numbers in every row: reward, text" in told
    found = open_data(tmp_path / "out")
    assert "depth" in found.columns and found.meta.control_rate == 20


def test_a_run_that_was_cut_goes_on(make_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wmplan.data.conversion.SHARD_BYTES", 1)  # an episode a shard
    store, out = make_store([5, 3, 6, 2]), tmp_path / "out"
    source = str(folder_of(store))
    whole = convert_data(source, str(tmp_path / "whole"))
    save, calls = EpisodeWriter.save, []

    def stop(self: EpisodeWriter) -> None:
        calls.append(self.path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        save(self)

    monkeypatch.setattr(EpisodeWriter, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        convert_data(source, str(out))
    with pytest.raises(DataError, match="unfinished: it has 2 of 4 shards"):
        open_data(out)
    with pytest.raises(DataError, match=r"holds data with .*: give another out=DIR"):
        convert_data(source, str(out), control_rate=3)
    assert convert_data(source, str(out)) == whole.replace("whole", "out") and len(calls) == 3 + 2
    for name in ("shards/00000.h5", "shards/00003.h5"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    require_same(open_data(out), store)


def demonstrations(path: Path, grey: int) -> str:
    """A file in robomimic's layout with two cameras, the second brighter by 100."""
    with h5py.File(path, "w") as file:
        for number in range(2):
            demo = file.create_group(f"data/demo_{number}")
            demo["actions"] = np.arange(24, dtype=np.float32).reshape(12, 2)
            demo["obs/front_image"] = np.full((12, 16, 16, 3), grey, np.uint8)
            demo["obs/wrist_image"] = np.full((12, 16, 16, 3), grey + 100, np.uint8)
    return str(path)


def test_shards_of_another_source_camera_or_shift_are_never_kept(tmp_path: Path) -> None:
    one, other = demonstrations(tmp_path / "a.hdf5", 10), demonstrations(tmp_path / "b.hdf5", 20)
    out = str(tmp_path / "out")
    told = convert_data(one, out, camera="front_image", shift=1)
    for source, camera, shift, says in (
        (other, "front_image", 1, 'data with source="[0-9a-f]{16}", this one has "'),
        (one, "wrist_image", 1, 'data with camera="front_image", this one has "wrist_image"'),
        (one, "front_image", -1, "data with shift=1, this one has -1"),
    ):
        with pytest.raises(DataError, match=f"{says}.*: give another out=DIR, or delete"):
            convert_data(source, out, camera=camera, shift=shift)
    (tmp_path / "elsewhere").mkdir()
    moved = demonstrations(tmp_path / "elsewhere" / "a.hdf5", 10)  # the same content in another place
    assert convert_data(moved, out, camera="front_image", shift=1) == told
    assert open_data(out).episode(0, ["pixels"])["pixels"].max() == 10
    record = tmp_path / "out" / "conversion.json"
    for edit in (lambda: record.write_text(record.read_text().replace("stamp", "stomp")), record.unlink):
        edit()  # damaged, or missing as older versions left it
        with pytest.raises(DataError, match="does not say in conversion.json what it was made from"):
            convert_data(one, out, camera="front_image", shift=1)


def test_several_cameras_become_columns_of_their_names(tmp_path: Path) -> None:
    source, out = demonstrations(tmp_path / "a.hdf5", 10), str(tmp_path / "out")
    names = ("front_image", "wrist_image")
    convert_data(source, out, cameras=names, image_size=(8, 8))
    rows = open_data(out, cameras=names).episode(1)
    assert {name: int(rows[name].max()) for name in names} == {"front_image": 10, "wrist_image": 110}
    assert rows["front_image"].shape == rows["wrist_image"].shape == (12, 8, 8, 3)
    one = open_data(out, camera="wrist_image")
    assert one.cameras == ("pixels",) and one.episode(0)["pixels"].min() == 110
    with pytest.raises(DataError, match='data with camera=.*"wrist_image".*, this one has "front_image"'):
        convert_data(source, out, camera="front_image", image_size=(8, 8))
    with pytest.raises(UserError, match="give either camera=front_image"):
        open_data(out, camera="front_image", cameras=names)


@pytest.mark.parametrize("video", ["lossless", "images"])
def test_several_cameras_there_and_back(video: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    monkeypatch.setattr("wmplan.data.lerobot_films.VIDEO_BYTES", 1000)  # files end at other episodes for each camera
    rng = np.random.default_rng(0)
    lengths, names = (9, 2, 14), ("front", "wrist")
    (tmp_path / "mine" / "shards").mkdir(parents=True)
    writer = EpisodeWriter(shard_path(tmp_path / "mine", 0))
    for number, rows in enumerate(lengths):
        frames = {"front": rng.integers(0, 256, (rows, 16, 20, 3), np.uint8)}
        frames["wrist"] = np.full((rows, 24, 16, 3), 100 + number, np.uint8)
        writer.add(number, {**frames, "action": rng.normal(size=(rows, 2)).astype(np.float32)})
    writer.save()
    StoreMeta(None, 0, 3, None, 3, 10.0, (16, 20), (-1.0, -1.0), (1.0, 1.0)).write(tmp_path / "mine")
    out = tmp_path / "lerobot"
    options = ["format=lerobot", f"video={video}", "cameras=[front,wrist]"]
    assert cli.main(["data", "convert", str(tmp_path / "mine"), f"out={out}", *options]) == 0
    stats = json.loads((out / "meta" / "stats.json").read_text())
    for name in names:
        assert np.shape(stats[f"observation.images.{name}"]["mean"]) == (3, 1, 1)
    assert stats["observation.images.wrist"]["min"] == [[[100 / 255]]] * 3
    theirs = tuple(f"observation.images.{name}" for name in names)
    store = EpisodeStore.open(tmp_path / "mine", cameras=names)
    back = open_data(out, cameras=theirs)
    assert back.lengths.tolist() == list(lengths)
    for ours, camera in zip(names, theirs, strict=True):
        np.testing.assert_array_equal(back.column(camera), store.column(ours))
    np.testing.assert_array_equal(open_data(out, camera=theirs[1]).column("pixels"), store.column("wrist"))
    convert_data(str(out), str(tmp_path / "again"), "lerobot", cameras=theirs)  # names stay what they are
    np.testing.assert_array_equal(
        open_data(tmp_path / "again", cameras=theirs).column(theirs[0]), store.column("front")
    )


def test_folders_that_hold_something_are_left_alone(make_store: Store, tmp_path: Path) -> None:
    pytest.importorskip("av")
    source = str(folder_of(make_store([5, 3])))
    (tmp_path / "mine" / "shards").mkdir(parents=True)
    (tmp_path / "mine" / "shards" / "precious").write_text("1")
    for kind in ("shards", "lerobot"):
        with pytest.raises(UserError, match="holds shards, which is not of"):
            convert_data(source, str(tmp_path / "mine"), kind)  # type: ignore[arg-type]
    assert (tmp_path / "mine" / "shards" / "precious").read_text() == "1"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["image_size=[0,3]"], "image_size must be [height, width] from 1 to 4096, got [0, 3]"),
        (["control_rate=0"], "control_rate must be above 0"),
        (["shift=99"], "no episode has more than 99 rows"),
        (["format=hdf5"], "format is 'hdf5'"),
        (["camera=top"], "has no camera 'top'; it has pixels"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], says: str, make_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = folder_of(make_store([5, 3]))
    assert cli.main(["data", "convert", str(source), f"out={tmp_path / 'out'}", *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error and error.startswith("wmplan data convert: ") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_rate_has_to_be_known_for_lerobot(wild_file: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give control_rate=NUMBER"):
        convert_data(str(wild_file()), str(tmp_path / "out"), "lerobot")


def test_describe_tells_columns_and_ranges(make_store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "describe", str(folder_of(make_store([5, 3])))]) == 0
    out = capsys.readouterr().out
    assert "2 episodes, 8 rows, 0.0 minutes at 10 rows a second" in out and "median 4" in out
    assert "action                float32 (2,) from [0, 0] to [1, 3]" in out
    assert "pixels                uint8 (4, 5, 3), brightness" in out


def test_the_group_of_commands_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for line in (["data"], ["data", "--help"], ["help", "data"]):
        assert cli.main(line) == 0
        texts.append(capsys.readouterr().out)
    assert len(set(texts)) == 1 and "  data convert   Write recorded data" in texts[0]
    assert cli.main(["data", "chekc", "x"]) == 2
    assert "there is no command 'data chekc'; did you mean 'data check'?" in capsys.readouterr().err


PROGRAM = """
import json, sys
from lerobot.datasets.lerobot_dataset import LeRobotDataset
data = LeRobotDataset("wmplan/test", root=sys.argv[1], video_backend="pyav")
rows = []
for index in range(len(data)):
    item = data[index]
    frame = (item["observation.images.pixels"] * 255).round().int()
    rows.append({"episode": int(item["episode_index"]), "frame": int(item["frame_index"]), "task": item["task"],
                 "action": item["action"].tolist(), "state": item["observation.state"].tolist(),
                 "pixels": [int(frame.sum()), *frame[:, 5, 7].tolist(), *frame[:, -1, -1].tolist()]})
print(json.dumps({"episodes": data.num_episodes, "fps": data.fps, "cameras": data.meta.camera_keys, "rows": rows,
                  "mean": data.meta.stats["action"]["mean"].tolist()}))
"""


TWO_CAMERAS = """
import json, sys
from lerobot.datasets.lerobot_dataset import LeRobotDataset
data = LeRobotDataset("wmplan/test", root=sys.argv[1], video_backend="pyav")
cameras = data.meta.camera_keys
sums = [[int((data[index][camera] * 255).round().sum()) for camera in cameras] for index in range(len(data))]
print(json.dumps({"cameras": cameras, "sums": sums}))
"""


def opened_by_lerobot(program: str, folder: Path, home: Path) -> Any:
    """What a program says of a folder, run by a Python that has the published lerobot."""
    python = os.environ.get("WMPLAN_LEROBOT_PYTHON")
    if not python:
        pytest.skip("WMPLAN_LEROBOT_PYTHON names no Python with lerobot")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(home)}
    done = subprocess.run(
        [python, "-W", "ignore", "-c", program, folder], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("video", ["lossless", "images"])
def test_the_published_lerobot_opens_several_cameras(video: Any, tmp_path: Path) -> None:
    pytest.importorskip("av")
    names = ("front_image", "wrist_image")
    source = demonstrations(tmp_path / "a.hdf5", 10)
    convert_data(
        source, str(tmp_path / "lerobot"), "lerobot", cameras=names, image_size=(16, 16), control_rate=10, video=video
    )
    seen = opened_by_lerobot(TWO_CAMERAS, tmp_path / "lerobot", tmp_path / "home")
    assert seen["cameras"] == ["observation.images.front_image", "observation.images.wrist_image"]
    store = open_data(str(source), cameras=names)
    totals = [resized(store.column(name), 16, 16).astype(int).sum((1, 2, 3)) for name in names]
    assert seen["sums"] == np.stack(totals, 1).tolist()


@pytest.mark.parametrize("video", ["lossless", "images"])
def test_the_published_lerobot_opens_it(video: Any, larger: Path, tmp_path: Path) -> None:
    convert_data(str(larger), str(tmp_path / "lerobot"), "lerobot", video=video)
    seen, store = opened_by_lerobot(PROGRAM, tmp_path / "lerobot", tmp_path / "home"), open_data(larger)
    assert (seen["episodes"], seen["fps"], seen["cameras"]) == (4, 12.5, ["observation.images.pixels"])
    pixels, actions, proprio = (store.column(name) for name in ("pixels", "action", "proprio"))
    last = np.isnan(actions).any(axis=1)
    actions[last] = actions[np.flatnonzero(last) - 1]  # LeRobot has an action in every row
    np.testing.assert_allclose(seen["mean"], actions.astype(np.float64).mean(axis=0), rtol=1e-5)
    for row, found in enumerate(seen["rows"]):
        frame = pixels[row].astype(int)
        assert found["pixels"] == [int(frame.sum()), *frame[5, 7].tolist(), *frame[-1, -1].tolist()]
        np.testing.assert_allclose(found["action"], actions[row], rtol=1e-6)
        np.testing.assert_allclose(found["state"], proprio[row], rtol=1e-6)
    assert [one["frame"] for one in seen["rows"]] == [step for rows in (9, 2, 14, 6) for step in range(rows)]
