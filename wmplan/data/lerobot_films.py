"""One camera's videos in LeRobot's format v3.0: many episodes after each other, in files of bounded size."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.data.meta import DataError
from wmplan.data.readers.extra import load
from wmplan.data.readers.lerobot_meta import VIDEO_PATH

VIDEO_BYTES = 200 << 20
CHUNK_FILES = 1000  # to a folder
CODECS = {
    "lossless": ("libx264rgb", "rgb24", {"crf": "0", "preset": "veryfast", "g": "10"}),
    "av1": ("libsvtav1", "yuv420p", {"crf": "30", "g": "2"}),
}


@dataclass
class Place:
    """A numbered file that episodes are gathered in."""

    number: int = 0

    @property
    def chunk(self) -> int:
        return self.number // CHUNK_FILES

    @property
    def file(self) -> int:
        return self.number % CHUNK_FILES

    def path(self, root: Path, pattern: str, camera: str = "") -> Path:
        """Where it is, its folder made; `camera` is the feature, of a video."""
        path = root / pattern.format(chunk_index=self.chunk, file_index=self.file, video_key=camera)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


class Films:
    """The videos of one camera.

    Args:
        root: folder of the data set.
        camera: its feature.
        rate: frames a second.
        video: a key of CODECS.
    """

    def __init__(self, root: Path, camera: str, rate: float, video: str) -> None:
        self.root, self.camera, self.rate, self.video = root, camera, rate, video
        self.av = load("av", "writing videos")
        self.fraction = Fraction(rate).limit_denominator(100_000)
        self.place = Place()
        self._film: Any = None
        self._frames = 0  # in the film that is open

    def add(self, frames: NDArray[np.uint8]) -> dict[str, Any]:
        """Write an episode's frames (T, H, W, 3), and say where, as meta/episodes does.

        Raises:
            DataError: where the codec does not take their size.
        """
        if self._film is None:
            self._open(frames.shape[1], frames.shape[2])
        begin = self._frames
        for frame in frames:
            picture = self.av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = self._frames, 1 / self.fraction
            self._film.mux(self._stream.encode(picture))
            self._frames += 1
        told: dict[str, Any] = {"chunk_index": self.place.chunk, "file_index": self.place.file}
        told |= {"from_timestamp": begin / self.rate, "to_timestamp": self._frames / self.rate}
        film = self.place.path(self.root, VIDEO_PATH, self.camera)
        if film.is_file() and film.stat().st_size > VIDEO_BYTES:  # an encoder may not have begun to write
            self.close()
            self.place.number += 1
        return {f"videos/{self.camera}/{name}": value for name, value in told.items()}

    def _open(self, height: int, width: int) -> None:
        if self.video == "av1" and (height % 2 or width % 2 or min(height, width) < 64):
            raise DataError(
                f"frames of {height} x {width} cannot be AV1, which takes even sizes from 64 on: give image_size, or "
                "video=lossless"
            )
        codec, pixels, options = CODECS[self.video]
        self._film = self.av.open(str(self.place.path(self.root, VIDEO_PATH, self.camera)), "w")
        self._stream = self._film.add_stream(codec, rate=self.fraction, options=options)
        self._stream.height, self._stream.width, self._stream.pix_fmt = height, width, pixels
        self._stream.time_base = 1 / self.fraction
        self._frames = 0

    def close(self) -> None:
        """End the file that is open, if one is."""
        if self._film is not None:
            self._film.mux(self._stream.encode())
            self._film.close()
        self._film = None
