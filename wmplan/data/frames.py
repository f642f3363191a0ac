"""Frames to learn from without actions: of a data set of episodes, of a folder of images, or of a folder of videos."""

from __future__ import annotations

from pathlib import Path

from wmplan.data.meta import DataError
from wmplan.data.reader import Reader, open_data
from wmplan.data.readers.frame_folders import ClipFolder, ImageFolder
from wmplan.registry import READERS

FOLDERS = (ClipFolder, ImageFolder)
DEFAULT_SIZE = (64, 64)


def open_frames(path: str | Path, *, camera: str | None = None, image_size: tuple[int, int] | None = None) -> Reader:
    """A reader with the frames of one camera in the column `pixels`.

    Args:
        path: a data set, FORMAT:PATH, or a folder of images or videos, in folders of any depth.
        camera: of several the one to read.
        image_size: (height, width) that images and videos are brought to, DEFAULT_SIZE where left out; of a data set
            it must be the size that its frames have.

    Raises:
        DataError: where there are no frames, or they have another size.
    """
    folder = Path(path)
    kind = None
    if folder.is_dir() and not any(READERS[name].recognises(folder) for name in READERS):
        kind = next((one for one in FOLDERS if one.recognises(folder)), None)
    if kind is not None:
        return kind(folder, image_size or DEFAULT_SIZE)
    store = open_data(path, camera=camera)
    store.require_column("pixels")
    shape, _ = store.columns["pixels"]
    if image_size is not None and shape[:2] != image_size:
        store.close()
        height, width = image_size
        raise DataError(
            f"{path} has frames of {shape[0]} x {shape[1]}, not {height} x {width}: bring them to that size, "
            f"wmplan data convert {path} out=DIR image_size=[{height},{width}]"
        )
    return store
