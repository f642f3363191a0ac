"""The same episodes written by hand in every format, each from its own documentation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Episodes = list[dict[str, NDArray[Any]]]
LENGTHS = (9, 1, 14, 6)
RATE = 10
"""Of the frames, in Hz."""


def make_episodes(lengths: tuple[int, ...] = LENGTHS, size: tuple[int, int] = (32, 48)) -> Episodes:
    """Moving squares: frames that no two rows share, actions that say episode and step."""
    found = []
    for number, rows in enumerate(lengths):
        step = np.arange(rows)
        pixels = np.full((rows, *size, 3), 20 * number, np.uint8)
        for row in step:
            pixels[row, 4:12, 2 * row : 2 * row + 8] = (255, 10 * row, 40)
        action = np.stack([np.full(rows, number), step], axis=1).astype(np.float32)
        action[-1] = np.nan
        proprio = np.stack([step / 7, -step, np.full(rows, number)], axis=1).astype(np.float32)
        found.append({"pixels": pixels, "action": action, "proprio": proprio})
    return found


@pytest.fixture
def episodes() -> Episodes:
    return make_episodes()


def save_video(path: Path, frames: NDArray[np.uint8], codec: str = "libx264rgb", rate: int = RATE) -> None:
    """Frames (n, H, W, 3) as a video; libx264rgb at crf 0 loses nothing."""
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"libx264rgb": {"crf": "0"}, "libx264": {"crf": "10", "g": "2"}, "libsvtav1": {"crf": "20", "g": "5"}}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options[codec])
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "rgb24" if codec == "libx264rgb" else "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def save_lerobot(
    folder: Path,
    episodes: Episodes,
    *,
    kind: str = "video",
    codec: str = "libx264rgb",
    per_file: int = 3,
    cameras: tuple[str, ...] = ("top",),
    edit: Callable[[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]], None] | None = None,
) -> Path:
    """The layout of https://huggingface.co/docs/lerobot/lerobot-dataset-v3, `per_file` episodes to a file.

    The last row's action is 9, as a recorder writes one whether a frame follows or not.
    """
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    keys = [f"observation.images.{name}" for name in cameras]
    height, width = episodes[0]["pixels"].shape[1:3]
    info: dict[str, Any] = {
        "codebase_version": "v3.0",
        "fps": RATE,
        "total_episodes": len(episodes),
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {
            "action": {"dtype": "float32", "shape": [2], "names": ["x", "y"]},
            "observation.state": {"dtype": "float32", "shape": [3], "names": {"motors": ["a", "b", "c"]}},
            **{
                key: {"dtype": kind, "shape": [height, width, 3], "names": ["height", "width", "channels"]}
                for key in keys
            },
            "timestamp": {"dtype": "float32", "shape": [1], "names": None},
        },
    }
    table, rows, index = [], [], 0
    for number, one in enumerate(episodes):
        count = len(one["action"])
        file = number // per_file
        before = sum(len(other["action"]) for other in episodes[file * per_file : number])
        entry = {"episode_index": number, "length": count, "tasks": ["push"]}
        entry |= {"dataset_from_index": index, "dataset_to_index": index + count}
        entry |= {"data/chunk_index": 0, "data/file_index": file}
        for key in keys if kind == "video" else ():
            entry |= {f"videos/{key}/chunk_index": 0, f"videos/{key}/file_index": file}
            entry |= {
                f"videos/{key}/from_timestamp": before / RATE,
                f"videos/{key}/to_timestamp": (before + count) / RATE,
            }
        table.append(entry)
        for row in range(count):
            action = one["action"][row] if row + 1 < count else np.full(2, 9, np.float32)
            cells = {"action": action.tolist(), "observation.state": one["proprio"][row].tolist()}
            cells |= {
                "timestamp": row / RATE,
                "frame_index": row,
                "episode_index": number,
                "index": index,
                "task_index": 0,
            }
            if kind == "image":
                cells |= {key: {"bytes": _png(one["pixels"][row]), "path": f"{row}.png"} for key in keys}
            rows.append({**cells, "_file": file})
            index += 1
    if edit is not None:
        edit(info, table, rows)
    (folder / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
    (folder / "data" / "chunk-000").mkdir(parents=True)
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    pq.write_table(pa.Table.from_pylist(table), folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
    for file in range(-(-len(episodes) // per_file)):
        chosen = [
            {name: value for name, value in row.items() if name != "_file"} for row in rows if row["_file"] == file
        ]
        pq.write_table(
            pa.Table.from_pylist(chosen), folder / "data" / "chunk-000" / f"file-{file:03d}.parquet", row_group_size=4
        )
        for shift, key in enumerate(keys if kind == "video" else ()):
            frames = np.concatenate([one["pixels"] for one in episodes[file * per_file : (file + 1) * per_file]])
            save_video(folder / "videos" / key / "chunk-000" / f"file-{file:03d}.mp4", frames + np.uint8(shift), codec)
    return folder


def _png(frame: NDArray[np.uint8]) -> bytes:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(frame).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def write_video() -> Callable[..., None]:
    return save_video


@pytest.fixture
def write_lerobot(tmp_path: Path) -> Callable[..., Path]:
    """Writes episodes as a LeRobot folder."""
    return lambda episodes, name="lerobot", **options: save_lerobot(tmp_path / name, episodes, **options)
