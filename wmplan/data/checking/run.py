"""All checks of a data set, and what a data set is, as text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from wmplan.counted import counted
from wmplan.data.checking.alignment import DRAWS, MOST, Alignment, estimate_alignment
from wmplan.data.checking.finding import Finding, table
from wmplan.data.checking.frames import check_frames, look_at_frames
from wmplan.data.checking.numbers import check_numbers
from wmplan.data.meta import DataError
from wmplan.data.reader import Reader, open_data
from wmplan.errors import UserError

ALIGNED_ROWS = 20_000  # that the lag is estimated from
SURE = 0.95


def check_data(data: str, camera: str | None = None, latency: int = 0) -> int:
    """Check a data set, and print what is found.

    Args:
        data: a folder or file, or FORMAT:PATH.
        camera: of several.
        latency: rows after which the robot is known to do what it is told; 0 where the next frame shows it.

    Returns:
        The exit status: 1 where something serious is found, else 0.

    Raises:
        UserError: where there is no such data.
    """
    if not 0 <= latency <= MOST:
        raise UserError(f"latency must be from 0 to {MOST} rows, got {latency}")
    try:
        opened = open_data(data, allow_nan=True, camera=camera)
    except DataError as error:
        if not _is_there(data):
            raise
        print(table([Finding("cannot be opened", str(error), True)]))
        return 1
    findings = list(find(opened, latency))
    opened.close()
    serious = sum(finding.serious for finding in findings)
    if findings:
        print(table(findings))
    episodes, notes = counted(len(opened), "episode"), counted(len(findings) - serious, "note")
    print(f"{data}: {episodes}, {opened.num_rows} rows: {serious} serious, {notes}")
    return int(serious > 0)


def _is_there(data: str) -> bool:
    named = data.partition(":")[2]
    return Path(data).exists() or bool(named and Path(named).exists())


def find(data: Reader, latency: int = 0) -> Iterator[Finding]:
    """Everything that is wrong with a data set, every frame being read once."""
    yield from check_numbers(data)
    if "pixels" not in data.columns:
        why = data.unusable.get("pixels", "is not there")
        yield Finding("no frames", f"column 'pixels' {why}", True)
        return
    colours: list[NDArray[np.float32]] = []
    actions: list[NDArray[np.float64]] = []
    for episode in tqdm(range(len(data)), "look at frames", unit="ep", disable=None):
        seen = look_at_frames(data, episode)
        yield from check_frames(data, episode, seen)
        if seen.unreadable is None and sum(map(len, colours)) < ALIGNED_ROWS:
            colours.append(seen.colours)
            actions.append(data.episode(episode, ["action"])["action"].astype(np.float64))
    yield from check_alignment(estimate_alignment(colours, actions) if colours else None, latency)


def check_alignment(found: Alignment | None, latency: int) -> Iterator[Finding]:
    """Whether actions stand in the rows of the frames that they change."""
    if found is None:
        why = "too few rows, or no action explains the change of frames"
        yield Finding("alignment not known", f"which action goes with which frames cannot be estimated: {why}", False)
        return
    figures = f"it explains {found.explained[found.lag]:.1%} of the frames' change, that of the same row "
    figures += f"{max(found.explained[0], 0):.1%}; best in {found.sure:.0%} of {DRAWS} draws of the data"
    if found.lag == latency:
        return
    if found.lag < latency:
        rows = latency - found.lag
        message = (
            f"frames change {_rows(rows)} before the action that explains it, which no robot does: actions stand "
            f"{_rows(rows)} too late ({figures}); mend with wmplan data convert shift={-rows}"
        )
    else:
        rows = found.lag - latency
        message = (
            f"frames change {_rows(rows)} after the action that explains it ({figures}): the robot or the camera is "
            f"that slow, then say latency={found.lag}; or actions stand too early, then mend with wmplan data convert "
            f"shift={rows}"
        )
    sure = found.sure >= SURE
    yield Finding("actions and frames", message if sure else f"not sure: {message}", sure and found.lag < latency)


def _rows(count: int) -> str:
    return f"{count} row{'s' * (count != 1)}"
