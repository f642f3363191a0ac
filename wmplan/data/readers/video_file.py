"""Frames of a video file by their number: the order in which they are shown, whatever their time stamps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.data.meta import DamagedError, DataError
from wmplan.data.readers.extra import load

FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".avi": "avi"}
"""The one format that a file may be of, by its suffix: playlists that name other files or addresses are none."""
MOST_PIXELS = 1 << 26  # of a frame


class VideoFile:
    """A video, opened to read.

    Attributes:
        times: when each frame is shown, in seconds, of shape (frames,).
        image_size: (height, width).
        rate: frames in a second, by the header; None where it does not say.

    Raises:
        DataError: where it is missing, damaged or holds no frames.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise DataError(f"{path} is missing")
        if path.suffix.lower() not in FORMATS:
            raise DataError(f"{path} must be one of {', '.join(FORMATS)}")
        self._av = load("av", f"reading {path}")
        self._open()
        try:
            found = [packet.pts for packet in self._container.demux(self._stream) if _shown(packet)]
        except Exception as error:  # libav's errors are of many classes
            raise DamagedError.of(self.path, error) from None
        if None in found:
            raise DataError(f"{path} has frames without a time stamp; write it anew with ffmpeg -i {path.name}")
        self._stamps = np.sort(np.array(found, np.int64))
        if not len(self._stamps):
            raise DataError(f"{path} holds no frames")
        if (np.diff(self._stamps) == 0).any():
            raise DataError(f"{path} has two frames with the same time stamp; write it anew with ffmpeg")
        self.times: NDArray[np.float64] = (self._stamps * float(self._stream.time_base)).astype(np.float64)
        self._next = -1
        self._frames: Iterator[Any] = iter(())

    def _open(self) -> None:
        options = {"protocol_whitelist": "file"}
        try:
            kind = FORMATS[self.path.suffix.lower()]
            self._container = self._av.open(str(self.path.absolute()), format=kind, options=options)
        except Exception as error:
            raise DamagedError.of(self.path, error) from None
        if not self._container.streams.video:
            raise DataError(f"{self.path} holds no video")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        height, width = self._stream.height, self._stream.width
        if not 0 < height * width <= MOST_PIXELS:
            raise DataError(f"{self.path} has frames of {height} x {width} pixels, at most {MOST_PIXELS} are read")
        self.image_size = (int(height), int(width))
        self.rate = float(self._stream.average_rate) if self._stream.average_rate else None

    def __len__(self) -> int:
        return len(self._stamps)

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Frames start to stop, of shape (stop - start, H, W, 3).

        Raises:
            DataError: where there are not so many, or one cannot be decoded.
        """
        if not 0 <= start <= stop <= len(self):
            raise DamagedError(f"{self.path} has {len(self)} frames, frames {start} to {stop} are asked for")
        frames = np.empty((stop - start, *self.image_size, 3), np.uint8)
        if start < stop and start != self._next:
            self._seek(start)
        for row in range(start, stop):
            frames[row - start] = self._decoded(row)
        return frames

    def _seek(self, start: int) -> None:
        """Stand before frame `start`: at the last key frame before it, or at the beginning where seeking fails."""
        for stamp in (int(self._stamps[start]), int(self._stamps[0])):
            try:
                self._container.seek(stamp, stream=self._stream)
            except Exception:
                continue
            self._frames = self._decode()
            first = next(self._frames, None)
            if first is not None and first.pts is not None and first.pts <= self._stamps[start]:
                self._frames = _chain(first, self._frames)
                self._next = start
                return
        self._container.close()
        self._open()
        self._frames, self._next = self._decode(), start

    def _decode(self) -> Iterator[Any]:
        try:
            yield from self._container.decode(self._stream)
        except Exception as error:
            raise DamagedError.of(self.path, error) from None

    def _decoded(self, row: int) -> NDArray[np.uint8]:
        """Frame `row`, those before it being passed over."""
        wanted = self._stamps[row]
        for frame in self._frames:
            if frame.pts is None or frame.pts < wanted:
                continue
            if frame.pts > wanted:
                break
            if (frame.height, frame.width) != self.image_size:
                raise DataError(f"{self.path}: frame {row} is {frame.height} x {frame.width}, not {self.image_size}")
            self._next = row + 1
            pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
            return pixels
        self._next = -1
        raise DamagedError(f"{self.path} is damaged: frame {row} of {len(self)} cannot be decoded")

    def close(self) -> None:
        """Close the file."""
        self._frames = iter(())
        self._container.close()


def _shown(packet: Any) -> bool:
    return packet.size > 0 and not packet.is_discard


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest
