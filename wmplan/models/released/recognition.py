"""Other labs' checkpoints opened directly, in place of an import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wmplan.models.released.release import open_release

if TYPE_CHECKING:
    from wmplan.models.base import WorldModel


def recognise(path: Path) -> WorldModel | None:
    """The model in another lab's file or folder, None when it is of no family here.

    Bounds, rate and, mostly, statistics are in no release. What is not published is taken as normalised, with a
    warning: `wmplan import` asks for it.

    Raises:
        CheckpointError: when the checkpoint is damaged, or its tensors do not fit together.
    """
    release = open_release(path)
    if release is None:
        return None
    from wmplan.models.released.importer import as_released

    return as_released(release)
