"""Writing LeRobot's format v3.0, as lerobot 0.4 and newer open it: many episodes to a Parquet file and to a video.

What LeRobot has no name for keeps its own: `physics_state`, `variation.NAME`. LeRobot has an action in every row: in an
episode's last, the one before is repeated, and `next.done` is true.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from wmplan.atomic_io import write_json
from wmplan.data.converted import Converted
from wmplan.data.lerobot_films import CHUNK_FILES, VIDEO_BYTES, Films, Place
from wmplan.data.meta import DataError
from wmplan.data.readers.extra import load
from wmplan.data.readers.lerobot_meta import DATA_PATH, VIDEO_PATH
from wmplan.output_folder import check_folder, make_folder

CAMERA = "observation.images."
NAMES = {"proprio": "observation.state", "state": "observation.environment_state"}
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
FILE_BYTES = 100 << 20  # of a Parquet file


def write_lerobot(view: Converted, out: Path, rate: float | None, video: str) -> int:
    """Write a data set, and return how many episodes: those of one row have no action, and are left out.

    Written beside `out` first; it has its name once it is whole.

    Raises:
        DataError: where the rate is not known, or the folder holds something.
    """
    if rate is None:
        raise DataError("the data does not say how many rows are a second: give control_rate=NUMBER")
    check_folder(out, "a LeRobot data set", [], [one.name for one in out.iterdir()] if out.is_dir() else [])
    episodes = np.flatnonzero(view.lengths > 1).tolist()
    if not episodes:
        raise DataError("no episode has more than one row, so none has an action")
    partial = out.absolute().with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    make_folder(partial)
    try:
        _Writer(view, partial, rate, video).write(episodes)
        if out.is_dir():
            out.rmdir()  # it is empty
        os.replace(partial, out)
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return len(episodes)


@dataclass
class _Statistics:
    """Mean, deviation and limits of a feature, over all rows."""

    count: int = 0
    total: Any = 0.0
    squares: Any = 0.0
    low: Any = field(default_factory=lambda: np.inf)
    high: Any = field(default_factory=lambda: -np.inf)

    def add(self, rows: NDArray[Any]) -> None:
        values = rows.astype(np.float64)
        self.count += len(values)
        self.total = self.total + values.sum(axis=0)
        self.squares = self.squares + (values**2).sum(axis=0)
        self.low = np.minimum(self.low, values.min(axis=0))
        self.high = np.maximum(self.high, values.max(axis=0))

    def told(self, shape: tuple[int, ...] | None = None) -> dict[str, Any]:
        mean = self.total / self.count
        std = np.sqrt(np.maximum(self.squares / self.count - mean**2, 0))
        found = {"min": self.low, "max": self.high, "mean": mean, "std": std}
        entries: dict[str, Any] = {name: np.reshape(value, shape or (-1,)).tolist() for name, value in found.items()}
        return entries | {"count": [self.count]}


class _Writer:
    """Writes into an empty folder."""

    def __init__(self, view: Converted, root: Path, rate: float, video: str) -> None:
        self.view, self.root, self.rate, self.video = view, root, rate, video
        self.columns = view.columns
        self.pyarrow, self.parquet = (load(name, "writing LeRobot's format") for name in ("pyarrow", "pyarrow.parquet"))
        self.cameras = {name: feature(name) for name in view.cameras}
        self.names = {**NAMES, **self.cameras}
        self.features = self._features()
        self.statistics: dict[str, _Statistics] = {}
        self.data, self.films = Place(), dict[str, Films]()
        self._table: Any = None

    def write(self, episodes: list[int]) -> None:
        entries, index = [], 0
        for number, episode in enumerate(tqdm(episodes, "write", unit="ep", disable=None)):
            rows = self.view.episode(episode, tuple(self.columns))
            count = len(rows["action"])
            entry = {"episode_index": number, "tasks": ["recorded"], "length": count}
            entry |= {"dataset_from_index": index, "dataset_to_index": index + count}
            for name, camera in self.cameras.items():
                entry |= self._add_frames(camera, rows.pop(name), rows)
            entry |= {"data/chunk_index": self.data.chunk, "data/file_index": self.data.file}
            entries.append(entry | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0})
            self._add_rows(rows, number, index)
            index += count
        self._close_table()
        for films in self.films.values():
            films.close()
        self._write_meta(entries, index)

    # ------------------------------------------------------------------ rows

    def _add_rows(self, rows: dict[str, NDArray[Any]], number: int, index: int) -> None:
        count = len(rows["action"])
        rows["action"] = np.concatenate([rows["action"][:-1], rows["action"][-2:-1]])
        step = np.arange(count)
        own = {
            "timestamp": (step / self.rate).astype(np.float32),
            "frame_index": step,
            "episode_index": np.full(count, number),
            "index": index + step,
            "task_index": np.zeros(count, np.int64),
            "next.done": step == count - 1,
        }
        values = {self.names.get(name, name): found for name, found in rows.items()}
        values = {name: found for name, found in values.items() if name not in own}
        values |= own
        for name, found in values.items():
            if name not in self.cameras.values():
                self.statistics.setdefault(name, _Statistics()).add(found.reshape(count, -1))
        table = self.pyarrow.table({name: self._cells(found) for name, found in values.items()})
        if self._table is None:
            path = self.data.path(self.root, DATA_PATH)
            schema = table.schema.with_metadata(self._huggingface())
            self._table = self.parquet.ParquetWriter(path, schema)
            self._bytes = 0
        self._table.write_table(table.cast(self._table.schema))
        self._bytes += table.nbytes
        if self._bytes > FILE_BYTES:
            self._close_table()
            self.data.number += 1

    def _cells(self, values: Any) -> Any:
        if isinstance(values, list):  # PNG images
            kind = self.pyarrow.struct([("bytes", self.pyarrow.binary()), ("path", self.pyarrow.string())])
            return self.pyarrow.array([{"bytes": one, "path": None} for one in values], kind)
        if values.ndim == 1 or values.shape[1:] == (1,):
            return self.pyarrow.array(values.reshape(-1))
        flat = self.pyarrow.array(np.ascontiguousarray(values).reshape(-1))
        for size in values.shape[:0:-1]:
            flat = self.pyarrow.FixedSizeListArray.from_arrays(flat, size)
        return flat

    def _huggingface(self) -> dict[str, str]:
        """What the datasets library needs to know of columns that hold images."""
        if self.video != "images" or not self.cameras:
            return {}
        images = {camera: {"_type": "Image"} for camera in self.cameras.values()}
        return {"huggingface": json.dumps({"info": {"features": images}})}

    def _close_table(self) -> None:
        if self._table is not None:
            self._table.close()
        self._table = None

    # ------------------------------------------------------------------ frames

    def _add_frames(self, camera: str, frames: NDArray[np.uint8], rows: dict[str, Any]) -> dict[str, Any]:
        """Put an episode's frames of one camera where they belong; where that is, for a video."""
        sample = frames[:: max(1, len(frames) // 10)].reshape(-1, 3) / 255
        self.statistics.setdefault(camera, _Statistics()).add(sample)
        if self.video == "images":
            rows[camera] = [_png(frame) for frame in frames]
            return {}
        if camera not in self.films:
            self.films[camera] = Films(self.root, camera, self.rate, self.video)
        return self.films[camera].add(frames)

    # ------------------------------------------------------------------ meta

    def _features(self) -> dict[str, Any]:
        meta = self.view.data.meta
        names = {"action": meta.action_names, "proprio": meta.proprio_names, "state": meta.state_names}
        found: dict[str, Any] = {}
        for name, (shape, dtype) in self.columns.items():
            entry: dict[str, Any] = {"dtype": str(dtype), "shape": list(shape or (1,))}
            if name in self.cameras:
                entry = {"dtype": "image" if self.video == "images" else "video", "shape": list(shape)}
                entry["names"] = ["height", "width", "channels"]
                entry |= {} if self.video == "images" else {"info": self._film_info(shape)}
            else:
                entry["names"] = list(names.get(name) or ()) or None
            found[self.names.get(name, name)] = entry
        whole = {"dtype": "int64", "shape": [1], "names": None}
        found |= {"timestamp": {**whole, "dtype": "float32"}, "next.done": {**whole, "dtype": "bool"}}
        return found | {name: whole for name in ("frame_index", "episode_index", "index", "task_index")}

    def _film_info(self, shape: tuple[int, ...]) -> dict[str, Any]:
        codec = "av1" if self.video == "av1" else "h264"
        told = {"height": shape[0], "width": shape[1], "codec": codec, "fps": self._fps(), "channels": 3}
        pixels = {"pix_fmt": "yuv420p" if self.video == "av1" else "gbrp", "is_depth_map": False}
        return {f"video.{name}": value for name, value in {**told, **pixels}.items()} | {"has_audio": False}

    def _fps(self) -> int | float:
        return int(self.rate) if float(self.rate).is_integer() else self.rate

    def _write_meta(self, entries: list[dict[str, Any]], rows: int) -> None:
        path = Place().path(self.root, EPISODES_PATH)
        self.parquet.write_table(self.pyarrow.Table.from_pylist(entries), path)
        self._write_tasks()
        told = {
            name: one.told((3, 1, 1) if name in self.cameras.values() else None)
            for name, one in self.statistics.items()
        }
        write_json(self.root / "meta" / "stats.json", told, indent=4)
        info = {
            "codebase_version": "v3.0",
            "robot_type": None,
            "total_episodes": len(entries),
            "total_frames": rows,
            "total_tasks": 1,
            "chunks_size": CHUNK_FILES,
            "data_files_size_in_mb": FILE_BYTES >> 20,
            "video_files_size_in_mb": VIDEO_BYTES >> 20,
            "fps": self._fps(),
            "splits": {"train": f"0:{len(entries)}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self.cameras and self.video != "images" else None,
            "features": self.features,
        }
        write_json(self.root / "meta" / "info.json", info, indent=4)

    def _write_tasks(self) -> None:
        """One task, as a pandas table with its text as index."""
        column = {"pandas_type": "int64", "numpy_type": "int64", "metadata": None}
        text = {"pandas_type": "unicode", "numpy_type": "object", "metadata": None}
        index = "__index_level_0__"
        pandas = {
            "index_columns": [index],
            "column_indexes": [],
            "columns": [
                {"name": "task_index", "field_name": "task_index", **column},
                {"name": None, "field_name": index, **text},
            ],
            "creator": {"library": "pyarrow", "version": self.pyarrow.__version__},
            "pandas_version": "2.0.0",
        }
        table = self.pyarrow.table({"task_index": [0], index: ["recorded"]})
        table = table.replace_schema_metadata({"pandas": json.dumps(pandas)})
        self.parquet.write_table(table, self.root / "meta" / "tasks.parquet")


def feature(camera: str) -> str:
    """LeRobot's name for a camera's frames."""
    return camera if camera.startswith(CAMERA) else CAMERA + camera


def _png(frame: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(frame).save(out, "PNG", compress_level=1)
    return out.getvalue()
