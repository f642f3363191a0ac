"""What the folder meta/ of a LeRobot data set says: features, rate, and where each episode lies."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.data.columns import Unusable
from wmplan.data.meta import DamagedError, DataError
from wmplan.data.readers.parquet_file import ParquetFile

INFO_BYTES = 1 << 24
MOST_ROWS = 1 << 30  # of a data set
PATTERN = re.compile(r"(?:[\w./-]|\{(?:chunk_index|file_index)(?::0?\d{1,2}d)?\}|\{video_key\})+")
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
CONVERT = "python -m lerobot.scripts.convert_dataset_v21_to_v30 --repo-id=NAME --root=FOLDER"


@dataclass(frozen=True)
class LeRobotInfo:
    """meta/info.json.

    Attributes:
        path: the data set's folder.
        rate: frames in a second.
        features: what each column is: {"dtype", "shape", "names"} by name.
        data_path, video_path: where files are, within the folder.
    """

    path: Path
    rate: float
    features: dict[str, dict[str, Any]]
    data_path: str
    video_path: str

    @classmethod
    def read(cls, folder: Path) -> LeRobotInfo:
        """Read and check it.

        Raises:
            DataError: where it is missing, damaged or of another version.
        """
        path = folder / "meta" / "info.json"
        try:
            if path.stat().st_size > INFO_BYTES:
                raise DataError(f"{path} has {path.stat().st_size} bytes, at most {INFO_BYTES} are read")
            document = json.loads(path.read_bytes())
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise DamagedError(f"{path} is not valid JSON ({str(error)[:100]})") from None
        if not isinstance(document, dict):
            raise DataError(f"{path} must hold a mapping")
        _require_version(path, document.get("codebase_version"))
        rate, features = document.get("fps"), document.get("features")
        if not isinstance(rate, int | float) or isinstance(rate, bool) or not (math.isfinite(rate) and rate > 0):
            raise DataError(f"{path}: fps must be a number above 0, got {str(rate)[:40]!r}")
        if not isinstance(features, dict) or not all(isinstance(one, dict) for one in features.values()):
            raise DataError(f"{path}: features must map names to what they are")
        paths = [document.get(key) or default for key, default in PATHS.items()]
        for pattern in paths:
            if not isinstance(pattern, str) or not PATTERN.fullmatch(pattern):
                raise DataError(f"{path}: {str(pattern)[:100]!r} is no path like {DATA_PATH}")
        return cls(folder, float(rate), features, *paths)

    @property
    def cameras(self) -> list[str]:
        """The features that are frames."""
        return [name for name in self.features if self.is_camera(name)]

    def is_camera(self, feature: str) -> bool:
        """Whether a feature is frames."""
        return self.features.get(feature, {}).get("dtype") in ("video", "image")

    def is_video(self, feature: str) -> bool:
        """Whether a feature is frames of a video, and not pictures in the table."""
        return self.features[feature].get("dtype") == "video"

    def names(self, feature: str) -> tuple[str, ...]:
        """Names of a feature's entries, where they are told."""
        told = self.features.get(feature, {}).get("names")
        if isinstance(told, dict):  # {"motors": [...]}, as older recorders write it
            told = next((one for one in told.values() if isinstance(one, list)), None)
        return tuple(str(one)[:100] for one in told) if isinstance(told, list) else ()

    def locate(self, pattern: str, chunk: int, file: int, camera: str = "") -> Path:
        """The path of a numbered file.

        Raises:
            DataError: where it lies outside the data set's folder.
        """
        within = os.path.normpath(pattern.format(chunk_index=chunk, file_index=file, video_key=camera))
        if os.path.isabs(within) or within.split(os.sep)[0] == os.pardir:
            raise DataError(f"{self.path / 'meta' / 'info.json'}: {within[:200]!r} is outside the data set's folder")
        return self.path / within


PATHS = {"data_path": DATA_PATH, "video_path": VIDEO_PATH}


def _require_version(path: Path, version: Any) -> None:
    told = str(version)[:40]
    if told.startswith(("v2", "v1", "2", "1")):
        raise DataError(
            f"{path}: the data set is of LeRobot's format {told}, which is not read; bring it to v3.0 with lerobot's "
            f"own script: {CONVERT}"
        )
    if not told.startswith("v3"):
        raise DataError(f"{path}: codebase_version must be v3.0, got {told!r}")


@dataclass(frozen=True)
class Videos:
    """Where the episodes are in one camera's videos.

    Attributes:
        files: the video of each.
        from_seconds: when each begins in it, of shape (E,).
    """

    files: list[Path]
    from_seconds: NDArray[np.float64]


@dataclass(frozen=True)
class EpisodeTable:
    """meta/episodes: where each episode lies, in the order of their numbers.

    Attributes:
        identities: their numbers in the files, of shape (E,).
        lengths: rows of each, of shape (E,).
        data_files: the Parquet file of each.
        videos: where each begins, by camera whose frames are in videos.
        files: that the table was read from.
    """

    identities: NDArray[np.int64]
    lengths: NDArray[np.int64]
    data_files: list[Path]
    videos: dict[str, Videos]
    files: list[Path]

    @classmethod
    def read(cls, info: LeRobotInfo, cameras: Iterable[str]) -> EpisodeTable:
        """Read and check it, for some cameras.

        Raises:
            DataError: where it is missing, damaged or contradicts itself.
        """
        files = sorted((info.path / "meta" / "episodes").glob("*/*.parquet"))
        if not files:
            raise DataError(f"{info.path / 'meta' / 'episodes'} has no chunk-000/file-000.parquet")
        filmed = [camera for camera in cameras if info.is_video(camera)]
        whole = ["episode_index", "length", "data/chunk_index", "data/file_index"]
        whole += [f"videos/{camera}/{number}" for camera in filmed for number in ("chunk_index", "file_index")]
        stored = {name: _numbers(files, name, np.dtype(np.int64)) for name in whole}
        order = np.argsort(stored["episode_index"], kind="stable")
        stored = {name: values[order] for name, values in stored.items()}
        identities, lengths = stored["episode_index"], stored["length"]
        if not len(identities):
            raise DataError(f"{files[0]} has no episodes")
        if len(twice := identities[1:][identities[1:] == identities[:-1]]):
            raise DataError(f"{files[0]}: episode {twice[0]} is there twice")
        low, high = min(values.min() for values in stored.values()), max(values.max() for values in stored.values())
        if low < 0 or high > MOST_ROWS or lengths.sum() > MOST_ROWS:
            raise DataError(
                f"{files[0]}: numbers must be from 0 to {MOST_ROWS}, got {low} to {high}, and so must the sum "
                "of the lengths"
            )

        def places(what: str) -> Iterator[tuple[int, int]]:
            yield from zip(stored[f"{what}/chunk_index"].tolist(), stored[f"{what}/file_index"].tolist(), strict=True)

        videos = {
            camera: Videos(
                [info.locate(info.video_path, *place, camera) for place in places(f"videos/{camera}")],
                _numbers(files, f"videos/{camera}/from_timestamp", np.dtype(np.float64))[order],
            )
            for camera in filmed
        }
        data = [info.locate(info.data_path, *place) for place in places("data")]
        return cls(identities, lengths, data, videos, files)


def _numbers(files: list[Path], name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A column of all files."""
    found = []
    for path in files:
        file = ParquetFile(path)
        try:
            values = file.values(name)
        except Unusable as why:
            raise DataError(f"{path}: column {name!r} {why}") from None
        finally:
            file.close()
        if values.ndim != 1 or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
            raise DataError(f"{path}: column {name!r} must hold a finite number an episode")
        found.append(values.astype(dtype))
    return np.concatenate(found)
