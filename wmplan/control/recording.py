"""From use to data: robots' loops hand what was seen and done to a recorder, which training reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from wmplan.errors import UserError


class Recording(Protocol):
    """Where one robot's frames and actions go. Neither call waits, nor raises for what a disk does."""

    def see(self, pixels: NDArray[Any], proprio: NDArray[Any] | None, executed: NDArray[Any]) -> None:
        """A frame (H, W, 3), and what was done since the one before, (n, a), one row a robot step."""

    def end(self) -> None:
        """The episode ends here."""


class Recorder(Protocol):
    """What records; wmplan.data.recorder.Recorder is one."""

    def stream(self) -> Recording:
        """For one more robot."""
        ...

    def close(self) -> None:
        """Save all that came, and end."""

    def line(self) -> str:
        """What was recorded and what was not, in one line."""
        ...


def open_recorder(
    record: str | Path | Recorder,
    cameras: Sequence[str],
    action_low: Sequence[float],
    action_high: Sequence[float],
    control_rate: float,
    task: str | None,
    limit_gb: float | None = None,
) -> Recorder:
    """The recorder of a folder, or the one that is given, which several robots may share.

    Raises:
        UserError: if there are several cameras, or the folder cannot be recorded into.
    """
    if len(cameras) > 1:
        raise UserError(f"record: a data set holds one camera's frames, the model sees {', '.join(cameras)}")
    if not isinstance(record, str | Path):
        return record
    from wmplan.data.recorder import Recorder as FolderRecorder  # loaded where something is recorded

    given = {} if limit_gb is None else {"limit_gb": limit_gb}
    return FolderRecorder(
        record, action_low=action_low, action_high=action_high, control_rate=control_rate, task=task, **given
    )
