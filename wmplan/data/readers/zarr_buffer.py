"""Diffusion Policy's replay buffers: a zarr group with data/NAME over all rows and meta/episode_ends.

Zarr's own description of an array may ask for its values to be unpickled, or for chunks of any size: it is checked
before zarr sees it. Folders in zarr's version 2 are read, as Diffusion Policy and UMI write them; a .zarr.zip is
unpacked first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.counted import counted
from wmplan.data.cameras import choose_cameras
from wmplan.data.columns import Column, Unusable, as_column, as_frames, without_last
from wmplan.data.formats import describe
from wmplan.data.meta import DamagedError, DataError
from wmplan.data.reader import Reader
from wmplan.data.readers.extra import load
from wmplan.data.readers.zarr_chunk import lost_chunks, unpacks_to_more
from wmplan.registry import register_reader

COMPRESSORS = ("blosc", "zlib", "gzip", "zstd", "lz4", "lzma", "bz2")
FILTERS = ("delta", "shuffle", "bitround", "fixedscaleoffset")
"""What may compress a chunk, and prepare it for that: nothing among them runs code that a file holds."""
MOST_BYTES = 1 << 31  # of a chunk
SMALL = 1 << 20  # bytes of a chunk that nobody minds
FILTERED = 8  # times a chunk's size that filters may bring it to: 8 bytes in place of 1
MOST_NUMBERS = 1 << 48  # of an array
PROPRIO = (("proprio",), ("agent_pos",), ("robot0_eef_pos", "robot0_eef_rot_axis_angle", "robot0_gripper_width"))


@register_reader("zarr")
class ZarrBuffer(Reader):
    """A folder in the layout of Diffusion Policy's replay buffer.

    Args:
        path: the folder, with data/ and meta/ in it.
        task: Gymnasium id that the data is taken to be of.
        camera: the array whose frames are `pixels`; needed where there are several.
        cameras: arrays whose frames are columns of their own names, in place of one.
    """

    def __init__(
        self,
        path: Path,
        task: str | None = None,
        *,
        camera: str | None = None,
        cameras: Sequence[str] | None = None,
    ) -> None:
        self.path = path
        if path.is_file():
            raise DataError(f"{path} is packed: unpack it first, unzip {path.name} -d {path.stem}")
        folder = path / "data"
        names = sorted(one.parent.name for one in folder.glob("*/.zarray"))
        if "action" not in names:
            raise DataError(f"{path} has no array data/action; it has {', '.join(names) or 'none'}")
        described = {name: _describe(folder / name) for name in names}
        ends = _describe(path / "meta" / "episode_ends")
        self._lost = {name: _lost(folder / name, told) for name, told in described.items()}
        if why := _lost(path / "meta" / "episode_ends", ends):
            raise DamagedError(f"{path}: meta/episode_ends {why}")
        self._arrays: dict[str, Any] = {name: self._array(folder / name) for name in described}
        self.lengths = self._lengths(np.asarray(self._array(path / "meta" / "episode_ends")[:]), ends["shape"])
        self._starts = np.cumsum(self.lengths) - self.lengths
        there = [name for name, one in described.items() if len(one["shape"]) == 4 and 3 in one["shape"][1::2]]
        chosen = choose_cameras(camera, cameras, there, path)
        self.cameras = tuple(chosen)
        self._find_columns(chosen, there)
        self.files = sorted(one for one in path.rglob("*") if one.is_file())
        self.meta = describe(self, task)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether it is a folder with meta/episode_ends, or such a one packed."""
        return (path / "meta" / "episode_ends").is_dir() or path.name.endswith(".zarr.zip")

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.path)

    def path_of(self, episode: int) -> Path:
        """The folder."""
        return self.path

    def read(self, episode: int, name: str, start: int, stop: int) -> NDArray[Any]:
        """Rows start to stop of a column of one episode."""
        first = int(self._starts[episode])
        try:
            parts = [self._rows(one, first + start, first + stop) for one in self._columns[name]]
        except Unusable as why:
            raise DataError(f"{self.path}: column {name!r} of episode {episode} {why}") from None
        rows = np.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
        return without_last(rows, stop == self.lengths[episode]) if name == "action" else rows

    def _rows(self, column: Column, start: int, stop: int) -> NDArray[Any]:
        try:
            stored = np.asarray(column.dataset[start:stop])
        except Exception as error:  # codecs raise errors of their own
            text = " ".join(str(error).split())[:200]
            raise DamagedError(f"{self.path} is damaged: rows {start} to {stop} cannot be read ({text})") from None
        return column.arrange(stored)

    def _array(self, folder: Path) -> Any:
        zarr = load("zarr", f"reading {folder}")
        try:
            return zarr.open_array(str(folder), mode="r", zarr_format=2)
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            raise DamagedError(f"{folder} is no zarr array that can be read ({text})") from None

    def _lengths(self, ends: NDArray[Any], shape: list[int]) -> NDArray[np.int64]:
        where = self.path / "meta" / "episode_ends"
        if len(shape) != 1 or ends.dtype.kind not in "iu" or (np.diff(ends, prepend=0) < 0).any():
            raise DataError(f"{where} must hold whole numbers that do not fall, the row after each episode's last")
        rows = self._arrays["action"].shape[0]
        if len(ends) and int(ends[-1]) > rows:
            raise DamagedError(f"{where} ends at row {ends[-1]}, data/action has {rows} rows")
        return np.diff(ends, prepend=0).astype(np.int64)

    def _find_columns(self, chosen: Mapping[str, str], there: Sequence[str]) -> None:
        """What is read as what: cameras as frames, the robot's own state as proprio, the rest as it is named."""
        names = {name: [name] for name in self._arrays if name not in there}
        names |= {name: [camera] for name, camera in chosen.items()}
        own = next((one for one in PROPRIO if all(part in self._arrays for part in one)), None)
        names |= {} if own is None else {"proprio": list(own)}
        self.columns, self.unusable, self._columns = {}, {}, {}
        for name, sources in names.items():
            arrays = [self._arrays[source] for source in sources]
            try:
                if why := next((self._lost[source] for source in sources if self._lost[source]), None):
                    raise Unusable(why)
                parts = [self._column(name, array) for array in arrays]
            except Unusable as why:
                if name in ("action", *self.cameras):
                    raise DataError(f"{self.path}: column {name!r} {why}") from None
                self.unusable[name] = str(why)
                continue
            shape = parts[0].shape
            shape = shape if len(parts) == 1 else (sum(part.shape[-1] for part in parts),)
            self._columns[name] = parts
            self.columns[name] = (shape, np.result_type(*(part.dtype for part in parts)))

    def _column(self, name: str, array: Any) -> Column:
        rows = self._arrays["action"].shape[0]
        if not array.shape or array.shape[0] != rows:
            raise Unusable(f"has the shape {array.shape}, data/action has {rows} rows")
        stored = array.dtype.newbyteorder("=")
        if name not in self.cameras:
            return as_column(name, array, stored)
        in_bytes = array.dtype.kind == "f" and rows and self._first_frames(array).max() > 1
        return as_frames(array, stored, float_white=255 if in_bytes else 1)  # as Diffusion Policy's Push-T has them

    def _first_frames(self, array: Any) -> NDArray[Any]:
        try:
            return np.asarray(array[:1])
        except Exception as error:
            raise DamagedError(f"{self.path} is damaged: its first frame cannot be read ({error})") from None


def _describe(folder: Path) -> dict[str, Any]:
    """An array's .zarray, refused where reading it would run code or take any memory.

    Raises:
        DataError: where it cannot be read, or asks for what is not done.
    """
    path = folder / ".zarray"
    try:
        told: Any = json.loads(path.read_bytes()) if path.stat().st_size < 1 << 20 else None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; zarr's version 2 is read, no other") from None
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict) or told.get("zarr_format") != 2:
        raise DataError(f"{path} must be the description of a zarr array of version 2")
    shape: Any = told.get("shape")
    chunks: Any = told.get("chunks")
    if not _sizes(shape) or not _sizes(chunks) or len(shape) != len(chunks):
        raise DataError(f"{path}: shape and chunks must be lists of sizes, of one length")
    filters = told.get("filters") or []
    if not isinstance(filters, list):
        raise DataError(f"{path}: filters must be a list or null, got {str(filters)[:40]}")
    for codec, known in ((told.get("compressor"), COMPRESSORS), *((one, FILTERS) for one in filters)):
        name = codec.get("id") if isinstance(codec, dict) else None
        if codec is not None and name not in known:
            raise DataError(f"{path}: {str(name)[:40]!r} is no way to store numbers that is read: {', '.join(known)}")
    try:
        dtype: np.dtype[Any] = np.dtype(told.get("dtype"))
    except (TypeError, ValueError):
        dtype = np.dtype(object)
    if dtype.kind not in "fiub":
        raise DataError(f"{path}: dtype must be of numbers, got {str(told.get('dtype'))[:40]!r}")
    if float(np.prod(np.array(chunks, float))) * dtype.itemsize > MOST_BYTES:
        raise DataError(f"{path}: a chunk of {chunks} {dtype} is larger than {MOST_BYTES / 1e9:.1f} GB")
    _require_room(folder, told, int(np.prod(chunks)) * dtype.itemsize)
    return told


def _require_room(folder: Path, told: dict[str, Any], chunk_bytes: int) -> None:
    """Raise unless every chunk's file unpacks to about a chunk: a small one may hold gigabytes of zeros."""
    codec = (told.get("compressor") or {}).get("id")
    most = FILTERED * chunk_bytes + SMALL
    for path in sorted(folder.rglob("*")):
        if path.name[0] != "." and path.is_file() and unpacks_to_more(path, codec, most):
            raise DamagedError(f"{path} unpacks to more than a chunk of {chunk_bytes} bytes, or does not tell its size")


def _lost(folder: Path, told: dict[str, Any]) -> str | None:
    """Why an array lacks rows; None where every chunk has its file. zarr would make up what a missing one held."""
    count, of, first = lost_chunks(folder, told)
    if not count:
        return None
    return (
        f"lacks {count} of {counted(of, 'chunk')}, first the file {folder / first}: copy the folder again, or, where "
        "zarr left out chunks of nothing but zeros, write it with write_empty_chunks=True"
    )


def _sizes(told: Any) -> bool:
    whole = isinstance(told, list) and all(isinstance(one, int) and 0 <= one <= MOST_NUMBERS for one in told)
    return whole and len(told) > 0 and float(np.prod(np.array(told, float))) <= MOST_NUMBERS
