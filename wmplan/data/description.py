"""What a data set holds, as text."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wmplan.counted import counted
from wmplan.data.reader import Reader, open_data
from wmplan.errors import UserError


def describe_data(
    data: str, camera: str | None = None, cameras: tuple[str, ...] | None = None, frames: int = 100
) -> str:
    """The description of a data set.

    Args:
        data: a folder or file, or FORMAT:PATH.
        camera: the one to read, of several.
        cameras: those to read, in place of one.
        frames: that are looked at, from episodes all over the data.

    Raises:
        UserError: where there is no such data.
    """
    if frames < 0:
        raise UserError(f"frames must be at least 0, got {frames}")
    opened = open_data(data, allow_nan=True, camera=camera, cameras=cameras)
    lines = [f"{data}: {type(opened).__name__}", *_sizes(opened), "columns:"]
    lines += [f"  {name:22}{text}" for name, text in _columns(opened, frames)]
    lines += [f"  {name:22}not read: it {why}" for name, why in opened.unusable.items()]
    opened.close()
    return "\n".join(lines)


def _sizes(data: Reader) -> Iterator[str]:
    lengths, rate = data.lengths, data.meta.control_rate
    seconds = f", {data.num_rows / rate / 60:.1f} minutes at {rate:g} rows a second" if rate else ", rate not known"
    files = counted(len(data.files), "file")
    size = sum(file.stat().st_size for file in data.files if file.is_file())
    yield f"  {counted(len(data), 'episode')}, {data.num_rows} rows{seconds}, {size / 1e6:.1f} MB in {files}"
    yield f"  rows of an episode: {lengths.min()} to {lengths.max()}, median {np.median(lengths):g}"
    if data.meta.task is not None:
        yield f"  task {data.meta.task}"


def _columns(data: Reader, frames: int) -> Iterator[tuple[str, str]]:
    names = {"action": data.meta.action_names, "proprio": data.meta.proprio_names, "state": data.meta.state_names}
    for name, (shape, dtype) in data.columns.items():
        told = f"{dtype} {shape}"
        if name in data.cameras:
            yield name, f"{told}{_brightness(data, name, frames)}"
            continue
        if dtype.kind in "fiub" and int(np.prod(shape)) <= 64:
            with np.errstate(all="ignore"):
                values = data.column(name).astype(np.float64).reshape(data.num_rows, -1)
                values = np.where(np.isfinite(values), values, np.nan)
                seen = values[~np.isnan(values).all(axis=1)]
            if len(seen):
                low, high = (
                    ", ".join(f"{one:.4g}" for one in limit) for limit in (np.nanmin(seen, 0), np.nanmax(seen, 0))
                )
                told += f" from [{low}] to [{high}]"
        yield name, told + (f" ({', '.join(names[name])})" if names.get(name) else "")


def _brightness(data: Reader, camera: str, frames: int) -> str:
    """Mean and spread over some frames: a black or a washed-out camera is seen here."""
    usable = np.flatnonzero(data.lengths)
    if not frames or not len(usable):
        return ""
    chosen = usable[np.linspace(0, len(usable) - 1, min(frames, len(usable))).astype(int)]
    seen = [data.read(int(one), camera, int(data.lengths[one]) // 2, int(data.lengths[one]) // 2 + 1) for one in chosen]
    means = np.array([frame.mean() for frame in seen])
    spread = np.array([frame.std() for frame in seen])
    return (
        f", brightness {means.min():.0f} to {means.max():.0f} of 255, contrast {spread.min():.0f} to {spread.max():.0f}"
    )
