"""Diffusion Policy's replay buffers, in the layout that its ReplayBuffer writes."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wmplan.data.meta import DataError
from wmplan.data.reader import open_data

Episodes = list[dict[str, Any]]
zarr = pytest.importorskip("zarr")
numcodecs = pytest.importorskip("numcodecs")


@pytest.fixture
def write(tmp_path: Path, episodes: Episodes) -> Callable[..., Path]:
    def save(frames: Callable[[Any], Any] = lambda rows: rows, cameras: tuple[str, ...] = ("img",)) -> Path:
        path = tmp_path / "replay.zarr"
        group = zarr.open_group(str(path), mode="w", zarr_format=2)
        columns = {name: np.concatenate([one[name] for one in episodes]) for name in episodes[0]}
        arrays = {"action": np.nan_to_num(columns["action"], nan=9), "agent_pos": columns["proprio"]}
        arrays |= {
            "state": columns["proprio"].astype(np.float64),
            **{name: frames(columns["pixels"]) for name in cameras},
        }
        for name, values in arrays.items():
            group.create_array(f"data/{name}", data=values, chunks=(7, *values.shape[1:]))
        group.create_array("meta/episode_ends", data=np.cumsum([len(one["action"]) for one in episodes]))
        return path

    return save


@pytest.mark.parametrize(
    "frames",
    [
        lambda rows: rows,
        lambda rows: rows.astype(np.float32),  # as its Push-T is: whole numbers as floats
        lambda rows: rows.astype(np.float32) / 255,
        lambda rows: np.moveaxis(rows, -1, 1),
    ],
    ids=["uint8", "float 0..255", "float 0..1", "channels first"],
)
def test_episodes_end_where_it_says(frames: Any, write: Any, episodes: Episodes) -> None:
    episodes[0]["pixels"][0, 0, 0] = 200  # the first frame tells the scale
    found = open_data(write(frames))
    assert found.lengths.tolist() == [9, 1, 14, 6]
    for index, one in enumerate(episodes):
        for name in ("pixels", "action", "proprio"):
            np.testing.assert_array_equal(found.episode(index, [name])[name], one[name])
    assert found.episode(2, ["action"], 2, 6)["action"][:, 1].tolist() == [2, 3, 4, 5]
    assert "state" in found.columns


def test_a_camera_is_chosen(write: Any, episodes: Episodes) -> None:
    path = write(cameras=("camera_0", "camera_1"))
    with pytest.raises(DataError, match="2 cameras, camera_0, camera_1: choose one"):
        open_data(path)
    np.testing.assert_array_equal(open_data(path, camera="camera_1").episode(3)["pixels"], episodes[3]["pixels"])
    both = open_data(path, cameras=["camera_1", "camera_0"]).episode(3)
    for name in ("camera_0", "camera_1"):
        np.testing.assert_array_equal(both[name], episodes[3]["pixels"])


@pytest.mark.parametrize(
    ("array", "change", "says"),
    [
        ("data/action", {"dtype": "|O", "filters": [{"id": "pickle"}]}, "'pickle' is no way to store numbers"),
        ("data/action", {"compressor": {"id": "json2"}}, "'json2' is no way to store numbers"),
        ("data/action", {"filters": 5}, "filters must be a list or null, got 5"),
        ("data/action", {"filters": [{"id": "gzip"}]}, "'gzip' is no way to store numbers"),  # would unpack twice
        ("data/action", {"dtype": "|O"}, "dtype must be of numbers, got '|O'"),
        ("data/img", {"chunks": [10**6, 1000, 1000, 3]}, "is larger than"),
        ("data/img", {"shape": [10**12, 32, 48, 3]}, "column 'pixels' has the shape|shape and chunks must be"),
        ("data/img", {"shape": [10**18, 32, 48, 3]}, "shape and chunks must be"),
        ("data/img", {"chunks": [7, 32]}, "shape and chunks must be"),
        ("meta/episode_ends", {"zarr_format": 3}, "must be the description of a zarr array of version 2"),
    ],
)
def test_what_asks_for_too_much_is_refused_before_zarr_sees_it(array: str, change: Any, says: str, write: Any) -> None:
    path = write()
    described = path / array / ".zarray"
    described.write_text(json.dumps({**json.loads(described.read_text()), **change}))
    with pytest.raises(DataError, match=says.replace("|O", r"\|O")) as caught:
        open_data(path).column("pixels")
    assert "\n" not in str(caught.value) and "replay.zarr" in str(caught.value)


def test_damaged_chunks_and_ends_are_one_line(write: Any) -> None:
    path = write()
    for array in ("data/img", "data/action"):
        chunk = next(one for one in sorted((path / array).iterdir()) if one.name[0] == "1")
        chunk.write_bytes(chunk.read_bytes()[:9])
        with pytest.raises(DataError, match="replay.zarr is damaged: rows"):
            open_data(path).column("pixels")
    for ends, says in (([3, 2], "do not fall"), ([10, 31], "ends at row 31, data/action has 30")):
        zarr.open_group(str(path), mode="a", zarr_format=2).create_array(
            "meta/episode_ends", data=np.array(ends), overwrite=True
        )
        with pytest.raises(DataError, match=says):
            open_data(path)


def test_a_chunk_without_a_file_is_never_made_up(write: Any) -> None:
    path = write()
    (path / "data" / "state" / "1.0").unlink()
    found = open_data(path)
    assert "state" not in found.columns and "lacks 1 of 5 chunks, first the file" in found.unusable["state"]
    (path / "data" / "action" / "5.0").write_bytes((path / "data" / "action" / "4.0").read_bytes())  # of a longer one
    for array, name, told in (("img", "2.0.0.0", "pixels"), ("action", "4.0", "action")):
        chunk = path / "data" / array / name
        content = chunk.read_bytes()
        chunk.unlink()
        with pytest.raises(DataError, match=f"column '{told}' lacks 1 of 5 chunks, first the file .*/{name}: copy"):
            open_data(path)
        chunk.write_bytes(content)
    described = path / "data" / "action" / ".zarray"
    described.write_text(json.dumps({**json.loads(described.read_text()), "shape": [10**14, 2], "chunks": [1, 2]}))
    with pytest.raises(DataError, match="column 'action' lacks"):  # at once, though there are many
        open_data(path)
    ends = write() / "meta" / "episode_ends" / "0"
    ends.unlink()
    with pytest.raises(DataError, match="meta/episode_ends lacks 1 of 1 chunk,"):
        open_data(path)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda content: gzip.compress(content[:9]) + gzip.compress(content[9:]),  # in two members
    "zlib": zlib.compress,
    "bz2": bz2.compress,
    "lzma": lzma.compress,
    "zstd": lambda content: bytes(numcodecs.Zstd().encode(content)),
    "lz4": lambda content: bytes(numcodecs.LZ4().encode(content)),
    "blosc": lambda content: bytes(numcodecs.Blosc().encode(content)),
}


@pytest.mark.parametrize("codec", PACKERS)
def test_a_chunk_that_unpacks_to_far_more_than_a_chunk_is_refused(codec: str, write: Any, episodes: Episodes) -> None:
    path = write()
    array = path / "data" / "action"
    described = json.loads((array / ".zarray").read_text()) | {"compressor": {"id": codec}, "filters": None}
    (array / ".zarray").write_text(json.dumps(described))
    rows = np.zeros((35, 2), np.dtype(described["dtype"]))
    rows[:30] = np.concatenate([one["action"] for one in episodes])
    rows = np.nan_to_num(rows, nan=9)
    for number in range(5):
        (array / f"{number}.0").write_bytes(PACKERS[codec](rows[7 * number : 7 * number + 7].tobytes()))
    np.testing.assert_array_equal(open_data(path).episode(2, ["action"])["action"], episodes[2]["action"])
    (array / "1.0").write_bytes(PACKERS[codec](bytes(1 << 22)))
    with pytest.raises(DataError, match=r"action/1\.0 unpacks to more than a chunk of 56 bytes"):
        open_data(path)


def test_a_packed_one_has_to_be_unpacked(tmp_path: Path) -> None:
    packed = tmp_path / "replay.zarr.zip"
    packed.write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match="is packed: unpack it first, unzip replay.zarr.zip -d replay.zarr"):
        open_data(packed)
