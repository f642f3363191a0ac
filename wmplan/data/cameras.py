"""Which of a data set's cameras are read, and as which columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wmplan.data.meta import DataError


def choose_cameras(
    camera: str | None, cameras: Sequence[str] | None, there: Sequence[str], path: Path
) -> dict[str, str]:
    """Columns of frames, and the camera behind each; none where there is no camera.

    Args:
        camera: the one whose frames are the column `pixels`; None for the only one.
        cameras: those whose frames are columns of their own names; None for the one above.
        there: the cameras of the data set.

    Raises:
        DataError: where there is no such camera, or several to choose from.
    """
    if camera is not None and cameras is not None:
        raise DataError(f"{path}: give either camera={camera}, whose frames are 'pixels', or cameras=[...]")
    chosen = [camera] if camera is not None else list(cameras or ())
    if cameras is not None and (not chosen or len(set(chosen)) < len(chosen)):
        raise DataError(f"{path}: cameras must be at least one name, and no name twice, got {chosen}")
    for name in chosen:
        if name not in there:
            raise DataError(f"{path} has no camera {name!r}; it has {', '.join(there) or 'none'}")
    if not chosen and len(there) > 1:
        raise DataError(
            f"{path} has {len(there)} cameras, {', '.join(there)}: choose one, wmplan data convert {path} out=DIR "
            f"camera={there[0]}, or several, cameras=[{','.join(there)}]"
        )
    if cameras is not None:
        return {name: name for name in chosen}
    only = chosen or there
    return {"pixels": only[0]} if only else {}
