"""What data sets without meta.json tell of themselves, as HDF5 files in the layout of LeWM / stable-worldmodel are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wmplan.data.meta import DataError, StoreMeta
from wmplan.data.reader import Reader


def public_files(path: Path) -> list[Path]:
    """The HDF5 files of a data set: `path` itself, or those in the folder `path` in the order of their names.

    Raises:
        DataError: where there are none.
    """
    if path.is_file():
        return [path]
    files = sorted([*path.glob("*.h5"), *path.glob("*.hdf5")])
    files = [file for file in files if not file.name.startswith(".")]  # macOS leaves ._NAME.h5
    if not files:
        what = "has no meta.json and no .h5 or .hdf5 file" if path.is_dir() else "does not exist"
        raise DataError(f"{path} is no data set: it {what} (make one with wmplan collect out={path})")
    return files


def describe(store: Reader, task: str | None) -> StoreMeta:
    """What the files tell: sizes, and as bounds of the actions the smallest and largest of any episode.

    They do not say what task they are of: `task` is taken on trust. Actions that are not finite count for nothing.

    Raises:
        DataError: where no episode has an action.
    """
    actions = store.column("action")
    actions = actions[np.isfinite(actions).all(axis=1)]
    if not len(actions):
        raise DataError(f"{store.name}: column 'action' has no action in any of its {len(store)} episodes")
    lengths = set(store.lengths.tolist())
    camera = next(iter(store.cameras), "pixels")
    height_width = store.columns.get(camera, ((), None))[0][:2]
    return StoreMeta(
        task=task,
        seed=None,
        episodes=len(store),
        steps=max(lengths) - 1 if len(lengths) == 1 else None,
        episodes_per_shard=len(store),
        control_rate=None,
        image_size=(height_width[0], height_width[1]) if height_width else None,
        action_low=tuple(actions.min(axis=0).tolist()),
        action_high=tuple(actions.max(axis=0).tolist()),
        policy="unknown",
    )
