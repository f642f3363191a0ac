"""Folders of images, or of videos, without actions: all that pretraining looks at.

They are no data sets that a world model could be trained on, so that no reader of these is found by a folder's name.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from wmplan.data.converted import resized
from wmplan.data.meta import DataError, StoreMeta
from wmplan.data.reader import Reader
from wmplan.data.readers.extra import ONE_READER
from wmplan.data.readers.picture import decode_picture
from wmplan.data.readers.video_file import FORMATS, VideoFile

IMAGES = (".png", ".jpg", ".jpeg")
READ_AT_ONCE = 64  # frames, before they are made smaller
NAMED = 5  # files, in a message


class FrameFolder(Reader):
    """Files of frames, an episode each, brought to one size; what cannot be read is left out.

    Args:
        path: the folder; folders in it are searched too.
        image_size: (height, width) of the frames handed out.

    Attributes:
        skipped: files that cannot be read or hold nothing, with the reason.
    """

    decodes = True
    suffixes: tuple[str, ...]

    def __init__(self, path: Path, image_size: tuple[int, int]) -> None:
        self.image_size = image_size
        self.columns = {"pixels": ((*image_size, 3), np.dtype(np.uint8))}
        self.skipped: dict[Path, str] = {}
        found = list(self._lengths(files_in(path, self.suffixes)))
        if not found:
            raise DataError(f"{path} holds no file that can be read: {self.told()}")
        self.files = [file for file, _ in found]
        self.lengths = np.array([length for _, length in found], np.int64)
        lengths = set(self.lengths.tolist())
        self.meta = StoreMeta(
            task=None,
            seed=None,
            episodes=len(found),
            steps=max(lengths) - 1 if len(lengths) == 1 else None,
            episodes_per_shard=len(found),
            control_rate=self.rate(),
            image_size=image_size,
            action_low=(),
            action_high=(),
            policy="unknown",
        )

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether it is a folder with such files."""
        return path.is_dir() and bool(files_in(path, cls.suffixes))

    def told(self) -> str:
        """How many files were left out, and which; empty where none was."""
        if not self.skipped:
            return ""
        some = "; ".join(f"{file.name} ({why})" for file, why in list(self.skipped.items())[:NAMED])
        more = len(self.skipped) - NAMED
        return f"{len(self.skipped)} left out: {some}" + (f"; and {more} more" if more > 0 else "")

    def path_of(self, episode: int) -> Path:
        """The episode's file."""
        return self.files[episode]

    def rate(self) -> float | None:
        """Rows in a second, where all files have the same."""
        return None

    def _lengths(self, files: Iterable[Path]) -> Iterator[tuple[Path, int]]:
        """Files that can be read, and their frames; the others are noted."""
        for file in tqdm(list(files), "look at the files", unit="file", disable=None):
            try:
                length = self._look(file)
            except DataError as error:
                self.skipped[file] = str(error).replace(f"{file} ", "")
            else:
                yield file, length

    @abstractmethod
    def _look(self, file: Path) -> int:
        """Frames of a file.

        Raises:
            DataError: where it cannot be read.
        """


class ImageFolder(FrameFolder):
    """A folder of PNG and JPEG images, each an episode of one row."""

    suffixes = IMAGES

    def read(self, episode: int, name: str, start: int, stop: int) -> NDArray[Any]:
        """The image, (stop - start, H, W, 3)."""
        file = self.files[episode]
        return resized(decode_picture(file.read_bytes(), None, str(file))[None], *self.image_size)[start:stop]

    def _look(self, file: Path) -> int:
        try:
            decode_picture(file.read_bytes(), None, str(file))
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror}") from None
        return 1


class ClipFolder(FrameFolder):
    """A folder of videos, each an episode of its frames."""

    suffixes = tuple(FORMATS)

    def __init__(self, path: Path, image_size: tuple[int, int]) -> None:
        self._open: VideoFile | None = None
        self._rates: set[float | None] = set()
        super().__init__(path, image_size)

    def rate(self) -> float | None:
        """Frames in a second, where all videos have the same."""
        return next(iter(self._rates)) if len(self._rates) == 1 else None

    def read(self, episode: int, name: str, start: int, stop: int) -> NDArray[Any]:
        """Frames start to stop, (stop - start, H, W, 3)."""
        with ONE_READER:
            if self._open is None or self._open.path != self.files[episode]:
                self.close()
                self._open = VideoFile(self.files[episode])
            frames = [
                resized(self._open.read(row, min(row + READ_AT_ONCE, stop)), *self.image_size)
                for row in range(start, stop, READ_AT_ONCE)
            ]
        return np.concatenate(frames) if frames else np.empty((0, *self.image_size, 3), np.uint8)

    def close(self) -> None:
        """Close the video that is open."""
        with ONE_READER:
            if self._open is not None:
                self._open.close()
            self._open = None

    def _look(self, file: Path) -> int:
        """Its frames, the first and the last of which are decoded: a video that was cut short has lost its last."""
        video = VideoFile(file)
        try:
            video.read(0, 1)
            video.read(len(video) - 1, len(video))
        finally:
            video.close()
        self._rates.add(video.rate)
        return len(video)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}


def files_in(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files of a folder and its folders by their endings, hidden ones left aside, in the order of their names."""
    found = (file for file in path.rglob("*") if file.suffix.lower() in suffixes and file.is_file())
    return sorted(file for file in found if not any(part.startswith(".") for part in file.relative_to(path).parts))
