"""A folder of videos, an episode each, with their actions in tables.

    run_000.mp4  run_000.csv        a table of the same name for each video (.csv or .parquet), or
    actions.csv                     one for all, with a column `video` that names each row's video

A row of a table is a frame. Columns `action`, or `action.x`, `action_0` and the like in their order, make the action;
`proprio` and `state` likewise. A table may end one row before its video: the last frame has no action.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.data.columns import QUANTITIES, Unusable, as_column, without_last
from wmplan.data.formats import describe
from wmplan.data.meta import DataError
from wmplan.data.reader import Reader
from wmplan.data.readers.extra import ONE_READER, load
from wmplan.data.readers.parquet_file import ParquetFile
from wmplan.data.readers.video_file import FORMATS, VideoFile
from wmplan.registry import register_reader

TABLES = (".csv", ".parquet")
CSV_BYTES = 1 << 29
Table = dict[str, NDArray[Any]]


@register_reader("videos")
class VideoFolder(Reader):
    """A folder of videos and tables.

    Args:
        path: the folder.
        task: Gymnasium id that the data is taken to be of.
    """

    decodes = True

    def __init__(self, path: Path, task: str | None = None) -> None:
        self.videos = _videos(path)
        self._open: VideoFile | None = None
        if not self.videos:
            raise DataError(f"{path} holds no video; one must be {', '.join(FORMATS)}")
        tables = _tables(path, self.videos)
        self.files = [*self.videos, *dict.fromkeys(file for file, _ in tables)]
        self._rows: list[Table] = []
        lengths, rates, sizes = [], [], []
        for video, (file, table) in zip(self.videos, tables, strict=True):
            if not table:
                raise DataError(f"{file} has no column 'action' or 'action.NAME', nor any other of numbers")
            opened = VideoFile(video)
            rows, frames = len(next(iter(table.values()))), len(opened)
            if rows not in (frames, frames - 1):
                raise DataError(
                    f"{video} has {frames} frames and {file.name} {rows} rows for it; a row must be a frame, and the "
                    "last frame may have none"
                )
            self._rows.append(_quantities(file, table, frames))
            lengths.append(frames)
            rates.append(opened.rate)
            sizes.append(opened.image_size)
            opened.close()
            self._require_same(video, sizes)
        self.lengths = np.array(lengths, np.int64)
        first = {name: (values.shape[1:], values.dtype) for name, values in self._rows[0].items()}
        self.columns = {"pixels": ((*sizes[0], 3), np.dtype(np.uint8)), **first}
        self.meta = replace(describe(self, task), control_rate=rates[0] if len(set(rates)) == 1 else None)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether it is a folder with videos, and tables beside them."""
        return path.is_dir() and bool(_videos(path)) and any(one.suffix in TABLES for one in path.iterdir())

    def path_of(self, episode: int) -> Path:
        """The episode's video."""
        return self.videos[episode]

    def read(self, episode: int, name: str, start: int, stop: int) -> NDArray[Any]:
        """Rows start to stop of a column of one episode."""
        if name != "pixels":
            return self._rows[episode][name][start:stop].copy()
        with ONE_READER:
            if self._open is None or self._open.path != self.videos[episode]:
                self.close()
                self._open = VideoFile(self.videos[episode])
            return self._open.read(start, stop)

    def _require_same(self, video: Path, sizes: list[tuple[int, int]]) -> None:
        """Raise unless an episode has the columns and the frames of the first."""
        if sizes[-1] != sizes[0]:
            raise DataError(f"{video} has frames of {sizes[-1]}, {self.videos[0].name} has {sizes[0]}: scale one")
        one, other = (
            {name: rows.shape[1:] for name, rows in table.items()} for table in (self._rows[0], self._rows[-1])
        )
        if one != other:
            raise DataError(f"{video} has the columns {other}, {self.videos[0].name} has {one}: they must be the same")

    def close(self) -> None:
        """Close the video that is open."""
        with ONE_READER:
            if self._open is not None:
                self._open.close()
            self._open = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}


def _videos(path: Path) -> list[Path]:
    found = [one for one in path.iterdir() if one.suffix.lower() in FORMATS] if path.is_dir() else []
    return sorted(one for one in found if not one.name.startswith("."))


def _tables(path: Path, videos: list[Path]) -> list[tuple[Path, Table]]:
    """For each video the file that its rows are in, and they."""
    own = [
        next((video.with_suffix(one) for one in TABLES if video.with_suffix(one).is_file()), None) for video in videos
    ]
    if None not in own:
        return [(file, _read_table(file)) for file in own if file is not None]
    shared = next((path / f"actions{one}" for one in TABLES if (path / f"actions{one}").is_file()), None)
    if shared is None:
        lost = videos[own.index(None)]
        raise DataError(f"{lost} has no table {lost.stem}.csv or .parquet beside it, and {path} no actions.csv for all")
    table = _read_table(shared)
    if "video" not in table:
        raise DataError(f"{shared} must have a column 'video', the name of each row's video; it has {', '.join(table)}")
    of = _named(table.pop("video"), videos, shared)
    found = [{name: values[of == number] for name, values in table.items()} for number in range(len(videos))]
    return [(shared, rows) for rows in found]


def _named(names: NDArray[Any], videos: list[Path], table: Path) -> NDArray[np.int64]:
    """Which of the videos each row names, by its place among them; -1 where it is none.

    A name may have its ending or not. A number is that of the one video that has it: a table that was written from
    numbers says 7 of 007.mp4.

    Raises:
        DataError: where several videos have it.
    """
    by_stem = {video.stem: place for place, video in enumerate(videos)}
    by_number: dict[int, list[int]] = {}
    for place, video in enumerate(videos):
        if video.stem.isdecimal():
            by_number.setdefault(int(video.stem), []).append(place)

    def place_of(name: Any) -> int:
        text = str(int(name)) if isinstance(name, float) and name.is_integer() else str(name)
        stem = text[: -len(Path(text).suffix)] if Path(text).suffix.lower() in FORMATS else text
        stem = stem.rpartition("/")[2]
        if isinstance(name, str) and stem in by_stem:
            return by_stem[stem]
        found = by_number.get(int(stem), []) if stem.isdecimal() else []
        if len(found) > 1:
            same = " and ".join(videos[place].name for place in found)
            raise DataError(f"{table}: column 'video' has {text}, which may be {same}: write the names as text")
        return found[0] if found else by_stem.get(stem, -1)

    places = {name: place_of(name) for name in dict.fromkeys(names.tolist())}
    return np.array([places[name] for name in names.tolist()], np.int64)


def _read_table(path: Path) -> Table:
    """All columns of a table.

    Raises:
        DataError: where it cannot be read.
    """
    if path.suffix == ".parquet":
        file = ParquetFile(path)
        try:
            return {name: file.values(name) for name in file.names}
        except Unusable as why:
            raise DataError(f"{path}: a column {why}") from None
        finally:
            file.close()
    if path.stat().st_size > CSV_BYTES:
        raise DataError(f"{path} has {path.stat().st_size / 1e9:.1f} GB: write it as .parquet")
    csv, text = load("pyarrow.csv", f"reading {path}"), load("pyarrow", f"reading {path}").string()
    names = csv.ConvertOptions(column_types={name: text for name in ("video", " video")})  # 000 is a name, no number
    try:
        table = csv.read_csv(str(path), convert_options=names)
    except Exception as error:
        raise DataError(f"{path} is no table that can be read: {' '.join(str(error).split())[:200]}") from None
    return {name.strip(): table.column(name).to_numpy() for name in table.column_names}


def _quantities(file: Path, table: Table, frames: int) -> Table:
    """Columns as they are handed out, with a row a frame; entries named action.x, action.y are one column."""
    found: Table = {}
    for name in QUANTITIES:
        parts = [one for one in table if re.fullmatch(rf"{name}([._ \[].*|\d+)?", one)]
        if not parts:
            continue
        try:
            columns = [as_column(name, table[one], table[one].dtype) for one in parts]
            rows = np.concatenate([column.arrange(column.dataset) for column in columns], axis=1)
        except Unusable as why:
            raise DataError(f"{file}: column {parts[0]!r} {why}") from None
        found[name] = np.concatenate([rows, np.repeat(rows[-1:], frames - len(rows), axis=0)])
    if "action" not in found:
        raise DataError(f"{file} has no column 'action' or 'action.NAME'; it has {', '.join(table)}")
    found["action"] = without_last(found["action"], True)
    stamps = table.get("timestamp")
    if stamps is not None and len(stamps) == frames and stamps.dtype.kind in "iuf":
        found["timestamp"] = stamps.astype(np.float64)
    return found
