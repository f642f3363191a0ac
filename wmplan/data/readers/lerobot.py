"""Folders in LeRobot's format v3.0: meta/info.json, many episodes to a Parquet file and to a video.

https://huggingface.co/docs/lerobot/lerobot-dataset-v3. Rows and frames are found by number. An episode's first frame in
a video is the one shown at its `from_timestamp`; those that follow are taken in order, so that time stamps that drift
within an episode, on which LeRobot's own loader fails, do no harm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.data.cameras import choose_cameras
from wmplan.data.columns import KNOWN, Column, Unusable, as_column, without_last
from wmplan.data.formats import describe
from wmplan.data.meta import DamagedError, DataError
from wmplan.data.reader import Reader
from wmplan.data.readers.extra import ONE_READER
from wmplan.data.readers.lerobot_meta import EpisodeTable, LeRobotInfo
from wmplan.data.readers.parquet_file import ParquetFile
from wmplan.data.readers.picture import decode_picture
from wmplan.data.readers.video_file import VideoFile
from wmplan.registry import register_reader

RENAMED = {"observation.state": "proprio", "observation.environment_state": "state"}
BOOKKEEPING = ("index", "task_index", "episode_index")
OPEN_FILES = 4  # of either kind


@register_reader("lerobot")
class LeRobotFolder(Reader):
    """A folder in LeRobot's format v3.0.

    Args:
        path: the folder that holds meta/info.json.
        task: Gymnasium id that the data is taken to be of.
        camera: the feature whose frames are `pixels`; needed where there are several.
        cameras: features whose frames are columns of their own names, in place of one.
    """

    decodes = True

    def __init__(
        self,
        path: Path,
        task: str | None = None,
        *,
        camera: str | None = None,
        cameras: Sequence[str] | None = None,
    ) -> None:
        self.info = LeRobotInfo.read(path)
        self._cameras = choose_cameras(camera, cameras, self.info.cameras, path)
        self.cameras = tuple(self._cameras)
        self._open: dict[tuple[str, Path], ParquetFile | VideoFile] = {}
        self._columns: dict[str, Column] = {}
        try:
            self._table = EpisodeTable.read(self.info, self._cameras.values())
            self.lengths = self._table.lengths
            self._find_rows()
            self._find_columns()
            self.meta = replace(
                describe(self, task),
                control_rate=self.info.rate,
                action_names=self._names("action"),
                proprio_names=self._names("observation.state"),
                state_names=self._names("observation.environment_state"),
            )
        except BaseException:
            self.close()
            raise

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether it is a folder with meta/info.json."""
        return (path / "meta" / "info.json").is_file()

    def path_of(self, episode: int) -> Path:
        """The Parquet file that holds an episode."""
        return self._table.data_files[episode]

    def read(self, episode: int, name: str, start: int, stop: int) -> NDArray[Any]:
        """Rows start to stop of a column of one episode."""
        with ONE_READER:
            return self._read(episode, name, start, stop)

    def _read(self, episode: int, name: str, start: int, stop: int) -> NDArray[Any]:
        camera = self._cameras.get(name)
        if camera in self._table.videos:
            return self._video_frames(name, episode, start, stop)
        file, first = self._data(episode), int(self._first_row[episode])
        try:
            if camera is not None:
                return self._pictures(name, file.arrow(camera, first + start, first + stop), episode, start)
            rows = self._columns[name].arrange(file.values(self._feature[name], first + start, first + stop))
        except Unusable as why:
            raise DataError(f"{file.path}: column {name!r} of episode {episode} {why}") from None
        return without_last(rows, stop == self.lengths[episode]) if name == "action" else rows

    # ------------------------------------------------------------------ finding things

    def _find_rows(self) -> None:
        """First row of each episode in its file, by what the files themselves say."""
        self._first_row = np.zeros(len(self.lengths), np.int64)
        by_file: dict[Path, list[int]] = {}
        for number, path in enumerate(self._table.data_files):
            by_file.setdefault(path, []).append(number)
        for path, numbers in by_file.items():
            file = self._file(ParquetFile, path)
            stored = np.asarray(file.values("episode_index")).ravel()
            starts = np.flatnonzero(np.diff(stored, prepend=stored[:1] - 1))
            first = {int(stored[row]): int(row) for row in reversed(starts)}
            counts = dict(zip(*np.unique(stored, return_counts=True), strict=True))
            for number in numbers:
                identity, wanted = int(self._table.identities[number]), int(self.lengths[number])
                row, found = first.get(identity, 0), int(counts.get(identity, 0))
                if found != wanted:
                    raise DamagedError(
                        f"{path} has {found} rows of episode {identity}, meta/episodes says {wanted}; fetch it again"
                    )
                if (stored[row : row + wanted] != identity).any():
                    raise DataError(f"{path}: the rows of episode {identity} must follow each other")
                self._first_row[number] = row
        videos = list(dict.fromkeys(path for one in self._table.videos.values() for path in one.files))
        if lost := [path for path in videos if not path.is_file()]:
            raise DataError(f"{lost[0]} is missing")
        self.files = [self.info.path / "meta" / "info.json", *self._table.files, *by_file, *videos]

    def _find_columns(self) -> None:
        """What each feature is read as, from the first file's first row."""
        self._feature = {}
        others = [name for name in self.info.cameras if name not in self._cameras.values()]
        self.columns, self.unusable = {}, {name: "is another camera than what is read" for name in others}
        file = self._file(ParquetFile, self._table.data_files[0])
        for name, camera in self._cameras.items():
            self.columns[name] = (self._frame_shape(camera, file), np.dtype(np.uint8))
        for feature in file.names:
            if feature in BOOKKEEPING or self.info.is_camera(feature):
                continue
            name = RENAMED.get(feature, feature)
            try:
                first = file.values(feature, 0, 1)
                if first.dtype.kind not in "fiub":
                    raise Unusable("holds text or bytes, it has to hold numbers")
                if first.ndim == 2 and first.shape[1] == 1 and name not in KNOWN:
                    first = first[:, 0]
                column = as_column(name, first, first.dtype)
            except Unusable as why:
                if name == "action":
                    raise DataError(f"{file.path}: column 'action' {why}") from None
                self.unusable[name] = str(why)
                continue
            self._feature[name], self._columns[name] = feature, column
            self.columns[name] = (column.shape, column.dtype)
        if "action" not in self.columns:
            raise DataError(f"{file.path} has no column 'action'; it has {', '.join(file.names)}")

    def _frame_shape(self, camera: str, file: ParquetFile) -> tuple[int, ...]:
        if camera in self._table.videos:
            return (*self._file(VideoFile, self._table.videos[camera].files[0]).image_size, 3)
        (first,) = file.arrow(camera, 0, 1).to_pylist()
        return decode_picture(_content(first), None, f"{file.path}: {camera!r} of row 0").shape

    def _names(self, feature: str) -> tuple[str, ...]:
        column = self.columns.get(RENAMED.get(feature, feature))
        names = self.info.names(feature)
        return names if column is not None and len(names) == column[0][0] else ()

    # ------------------------------------------------------------------ frames

    def _video_frames(self, name: str, episode: int, start: int, stop: int) -> NDArray[np.uint8]:
        videos = self._table.videos[self._cameras[name]]
        path = videos.files[episode]
        video = self._file(VideoFile, path)
        begins = videos.from_seconds[episode] - 0.5 / self.info.rate  # half a frame before
        first, length = int(np.searchsorted(video.times, begins)), int(self.lengths[episode])
        if first + length > len(video):
            raise DamagedError(
                f"{path} has {len(video)} frames, episode {self._table.identities[episode]} takes the frames {first} "
                f"to {first + length - 1}; fetch it again"
            )
        if (*video.image_size, 3) != (shape := self.columns[name][0]):
            raise DataError(f"{path} has frames of {video.image_size}, those before have {shape}")
        return video.read(first + start, first + stop)

    def _pictures(self, name: str, cells: Any, episode: int, start: int) -> NDArray[np.uint8]:
        shape = self.columns[name][0]
        frames = np.empty((len(cells), *shape), np.uint8)
        for row, cell in enumerate(cells.to_pylist()):
            where = f"{self.path_of(episode)}: {self._cameras[name]!r} of episode {episode}, frame {start + row}"
            frames[row] = decode_picture(_content(cell), shape, where)
        return frames

    # ------------------------------------------------------------------ open files

    def _data(self, episode: int) -> ParquetFile:
        return self._file(ParquetFile, self._table.data_files[episode])

    def _file(self, kind: Any, path: Path) -> Any:
        key = (kind.__name__, path)
        held = self._open.pop(key) if key in self._open else kind(path)
        self._open[key] = held  # most recently used last
        same = [other for other in self._open if other[0] == key[0]]
        if len(same) > max(OPEN_FILES, len(self._cameras)):
            self._open.pop(same[0]).close()
        return held

    def close(self) -> None:
        """Close the files; they are opened again when they are needed."""
        with ONE_READER:
            for file in self._open.values():
                file.close()
            self._open.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}


def _content(cell: Mapping[str, Any] | bytes | None) -> bytes:
    """The bytes of a picture: LeRobot keeps them in the table; a path beside them is not followed."""
    found = cell.get("bytes") if isinstance(cell, Mapping) else cell
    return found if isinstance(found, bytes) else b""
