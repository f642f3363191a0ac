"""Opens a data set, whoever made it: ours, or an HDF5 file of the public LeWM / stable-worldmodel data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wmplan.data.meta import DataError, StoreMeta
from wmplan.data.shard import Shard
from wmplan.data.store import EpisodeStore


def open_store(path: str | Path, *, task: str | None = None, control_rate: float | None = None) -> EpisodeStore:
    """Open a data set.

    Args:
        path: a folder that `wmplan collect` wrote; or an HDF5 file in stable-worldmodel's layout, or a folder of
            such files, which are then read as one data set in the order of their names.
        task: Gymnasium id of the task. Our own data has to be of it; a public file does not say what it is of, so
            there it is taken on trust.
        control_rate: robot steps in a second of a public file, which does not say.

    Raises:
        DataError: where there is no such data set, or it is damaged or of another task.
    """
    path = Path(path)
    if path.is_dir() and (path / "meta.json").is_file():
        return EpisodeStore.open(path, task=task)
    if path.is_dir():
        files = sorted([*path.glob("*.h5"), *path.glob("*.hdf5")])
        if not files:
            raise DataError(f"{path} is no data set: it has no meta.json and no .h5 or .hdf5 file")
    elif path.is_file():
        files = [path]
    else:
        raise DataError(f"{path} does not exist; name the folder of a data set or an HDF5 file")
    return EpisodeStore(files, describe(files, task, control_rate))


def describe(files: list[Path], task: str | None, control_rate: float | None) -> StoreMeta:
    """What the files of a public data set tell: sizes, and as bounds of the actions the smallest and largest seen."""
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
        control_rate=control_rate,
        image_size=size,
        action_low=tuple(np.min(lows, axis=0).tolist()),
        action_high=tuple(np.max(highs, axis=0).tolist()),
        policy="unknown",
    )
