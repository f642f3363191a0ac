"""Frames: a camera that is dead or stands still, frames that repeat; and where their colours are, for the alignment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.data.checking.finding import Finding
from wmplan.data.converted import resized
from wmplan.data.meta import DataError
from wmplan.data.reader import Reader

READ_BYTES = 1 << 26  # of frames at once
BLANK = 8  # grey levels between the darkest and the brightest pixel of a frame that shows nothing
SAME = 2  # grey levels by which frames differ that a lossy codec made of the same one
FROZEN = 10  # same frames in a row, while the robot moves
REPEATED = 0.02, 0.2  # shares of an episode's frames: worth a note, serious
SIDE = 64  # pixels a side, at most, of what colours are located in
LEVELS = 8  # of brightness of a colour channel
MOMENTS = 3 * 3 * LEVELS  # numbers that say where colours are


@dataclass
class EpisodeFrames:
    """What was seen of one episode's frames.

    Attributes:
        blank: rows whose frame shows nothing, of shape (rows,).
        same: rows whose frame is that of the row before, of shape (rows,).
        colours: how much there is of each level of each colour, and where, of shape (rows, MOMENTS).
        unreadable: why the frames cannot be read; None where they can.
    """

    blank: NDArray[np.bool_]
    same: NDArray[np.bool_]
    colours: NDArray[np.float32]
    unreadable: str | None = None


def look_at_frames(data: Reader, episode: int) -> EpisodeFrames:
    """Read an episode's frames once, some at a time."""
    shape, _ = data.columns["pixels"]
    rows = int(data.lengths[episode])
    step = max(1, READ_BYTES // int(np.prod(shape)))
    found = EpisodeFrames(np.zeros(rows, bool), np.zeros(rows, bool), np.zeros((rows, MOMENTS), np.float32))
    last: NDArray[Any] = np.empty((0, *shape), np.uint8)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        try:
            frames = data.read(episode, "pixels", start, stop)
        except DataError as error:
            found.unreadable = str(error)
            return found
        for row, frame in enumerate(frames, start):
            found.blank[row] = int(frame.max()) - int(frame.min()) <= BLANK
            before = frames[row - start - 1] if row > start else (last[0] if len(last) else None)
            if before is not None:
                found.same[row] = _is_same(frame, before)
        found.colours[start:stop] = locate_colours(frames)
        last = frames[-1:]
    return found


def check_frames(data: Reader, episode: int, seen: EpisodeFrames) -> Iterator[Finding]:
    """What is wrong with an episode's frames."""
    if seen.unreadable is not None:
        yield Finding("unreadable frames", seen.unreadable, True, episode)
        return
    if seen.blank.any():
        rows = int(seen.blank.sum())
        what = "all of its frames show" if seen.blank.all() else f"{rows} of its {len(seen.blank)} frames show"
        yield Finding("dead camera", f"{what} one colour", True, episode, int(seen.blank.argmax()))
    pace = _pace(data, episode)
    start, longest = _longest_run(seen.same & (pace > 0.25) & ~seen.blank)
    if longest >= FROZEN:
        message = f"the frame stands still for {longest} rows while the robot moves"
        yield Finding("camera stands still", message, True, episode, start)
        return
    fast = pace >= 1  # slower, a robot may stay within a pixel
    repeated = seen.same & fast & ~seen.blank
    if repeated.sum() > max(1, REPEATED[0] * fast.sum()):
        share = float(repeated.sum() / fast.sum())
        message = f"in {share:.0%} of the rows in which the robot moves fast, the frame is that of the row before"
        yield Finding("repeated frames", message, share > REPEATED[1], episode, int(repeated.argmax()))


def _is_same(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    return bool((np.maximum(one, other) - np.minimum(one, other)).max() <= SAME)


def locate_colours(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Amount, and amount times x and y, of each level of each colour channel, of shape (rows, MOMENTS).

    A thing that moves has a colour, and these numbers change in proportion to its way.
    """
    height, width = frames.shape[1:3]
    scale = max(height, width, SIDE) / SIDE
    small = resized(frames, max(round(height / scale), 1), max(round(width / scale), 1)) if scale > 1 else frames
    rows, height, width, _ = small.shape
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    places = np.stack([np.ones(height * width), x.ravel(), y.ravel()]).astype(np.float32) / (height * width)
    level = np.arange(256, dtype=np.float32)[:, None] * (LEVELS - 1) / 255
    shares = np.maximum(1 - np.abs(level - np.arange(LEVELS, dtype=np.float32)), 0)  # a value is of the two next levels
    found = np.empty((rows, 3, 3, LEVELS), np.float32)
    for row, frame in enumerate(small.reshape(rows, -1, 3)):
        for channel in range(3):
            found[row, channel] = places @ shares[frame[:, channel]]
    return found.reshape(rows, MOMENTS)


def _pace(data: Reader, episode: int) -> NDArray[np.float64]:
    """How far the robot came since the row before, in the median of the episode's ways, of shape (rows,).

    Without its state, by how much what it was told changed.
    """
    name = "proprio" if "proprio" in data.columns else "action"
    values = np.nan_to_num(data.episode(episode, [name])[name].astype(np.float64))
    ways = np.abs(np.diff(values, axis=0, prepend=values[:1])).max(axis=1, initial=0)
    if name == "action":  # a row's frame shows what the action of the row before did
        ways = np.concatenate([[0.0], ways[:-1]])[: len(values)]
    usual = float(np.median(ways[ways > 0])) if (ways > 0).any() else np.inf
    return ways / usual


def _longest_run(marked: NDArray[np.bool_]) -> tuple[int, int]:
    """(first row, rows) of the longest run of marked rows."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marked.astype(np.int8), [0]])))
    if not len(edges):
        return 0, 0
    starts, ends = edges[::2], edges[1::2]
    longest = int((ends - starts).argmax())
    return int(starts[longest]), int((ends - starts)[longest])
