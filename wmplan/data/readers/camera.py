"""Which of several cameras is read."""

from __future__ import annotations

from pathlib import Path

from wmplan.data.meta import DataError


def choose_camera(camera: str | None, cameras: list[str], path: Path) -> str | None:
    """The camera of that name, or the only one; None where there is none.

    Raises:
        DataError: where there is no such camera, or several to choose from.
    """
    if camera is not None and camera not in cameras:
        raise DataError(f"{path} has no camera {camera!r}; it has {', '.join(cameras) or 'none'}")
    if camera is None and len(cameras) > 1:
        raise DataError(
            f"{path} has {len(cameras)} cameras, {', '.join(cameras)}: choose one, wmplan data convert {path} out=DIR "
            f"camera={cameras[0]}"
        )
    return camera if camera is not None else next(iter(cameras), None)
