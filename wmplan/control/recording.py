"""From use to data: robots' loops hand what was seen and done to a recorder, which training reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray


class Recording(Protocol):
    """Where one robot's frames and actions go. Neither call waits, nor raises for what a disk does."""

    def see(self, frames: Mapping[str, NDArray[Any]], proprio: NDArray[Any] | None, executed: NDArray[Any]) -> None:
        """Frames (H, W, 3) by camera, and what was done since those before, (n, a), one row a robot step."""

    def end(self) -> None:
        """The episode ends here."""


class Recorder(Protocol):
    """What records; wmplan.data.recorder.Recorder is one."""

    def stream(self, cameras: Sequence[str] | None = None) -> Recording:
        """For one more robot, of whose frames those of `cameras` are recorded, or all that come."""
        ...

    def close(self) -> None:
        """Save all that came, and end."""

    def line(self) -> str:
        """What was recorded and what was not, in one line."""
        ...


def open_recorder(
    record: str | Path | Recorder,
    action_low: Sequence[float],
    action_high: Sequence[float],
    control_rate: float,
    task: str | None,
    limit_gb: float | None = None,
) -> Recorder:
    """The recorder of a folder, or the one that is given, which several robots may share.

    Raises:
        UserError: if the folder cannot be recorded into.
    """
    if not isinstance(record, str | Path):
        return record
    from wmplan.data.recorder import Recorder as FolderRecorder  # loaded where something is recorded

    given = {} if limit_gb is None else {"limit_gb": limit_gb}
    return FolderRecorder(
        record, action_low=action_low, action_high=action_high, control_rate=control_rate, task=task, **given
    )
