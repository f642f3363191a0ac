"""What public data sets tell of themselves: HDF5 files in the layout of LeWM / stable-worldmodel, without meta.json."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wmplan.data.meta import DataError, StoreMeta
from wmplan.data.shard import Shard


def public_files(path: Path) -> list[Path]:
    """The HDF5 files of a data set: `path` itself, or those in the folder `path` in the order of their names.

    Raises:
        DataError: where there are none.
    """
    if path.is_file():
        return [path]
    files = sorted([*path.glob("*.h5"), *path.glob("*.hdf5")])
    if not files:
        what = "has no meta.json and no .h5 or .hdf5 file" if path.is_dir() else "does not exist"
        raise DataError(f"{path} is no data set: it {what} (make one with wmplan collect out={path})")
    return files


def describe(files: list[Path], task: str | None) -> StoreMeta:
    """What the files tell: sizes, and as bounds of the actions the smallest and largest seen.

    They do not say what task they are of: `task` is taken on trust.
    """
    lengths: list[int] = []
    lows, highs = [], []
    size = None
    for path in files:
        shard = Shard(path)
        lengths += shard.lengths.tolist()
        actions = shard.read("action").reshape(int(shard.lengths.sum()), -1)
        lows.append(np.nanmin(actions, axis=0))
        highs.append(np.nanmax(actions, axis=0))
        size = shard.columns.get("pixels", ((), None))[0][:2] or None
        shard.close()
    return StoreMeta(
        task=task,
        seed=None,
        episodes=len(lengths),
        steps=lengths[0] - 1 if len(set(lengths)) == 1 else None,
        episodes_per_shard=len(lengths),
        control_rate=None,
        image_size=size,
        action_low=tuple(np.min(lows, axis=0).tolist()),
        action_high=tuple(np.max(highs, axis=0).tolist()),
        policy="unknown",
    )
