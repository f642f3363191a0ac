"""Actions and states: not finite, constant, saturated; episodes too short or there twice; time stamps and lost rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.counted import counted
from wmplan.data.checking.finding import Finding
from wmplan.data.columns import QUANTITIES
from wmplan.data.reader import Reader

SATURATED = 0.25  # share of the rows at one end of the range
FEW_VALUES = 4  # a gripper that opens or closes is no saturated motor
SHORTEST = 10  # rows of an episode whose action never moves
RATE_OFF = 0.02  # by which share a rate may be off before it is serious


def check_numbers(data: Reader) -> Iterator[Finding]:
    """Every finding that needs no frames."""
    yield from _check_finite(data)
    yield from _check_actions(data)
    yield from _check_lengths(data)
    yield from _check_twins(data)
    yield from _check_times(data)
    yield from _check_lost_rows(data)


def _check_finite(data: Reader) -> Iterator[Finding]:
    for name in [name for name in QUANTITIES if name in data.columns]:
        for episode, values in _episodes(data, name):
            bad: NDArray[np.bool_] = np.asarray(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
            if name == "action":
                bad = bad[:-1]  # the last row has none
            if bad.any():
                message = f"{name} is not finite in {bad.sum()} rows, {values[bad.argmax()].tolist()} here"
                yield Finding("not finite", message, True, episode, int(bad.argmax()))


def _check_actions(data: Reader) -> Iterator[Finding]:
    rows = [(episode, values[:-1]) for episode, values in _episodes(data, "action")]
    rows = [(episode, values[np.isfinite(values).all(axis=1)]) for episode, values in rows]
    everything = np.concatenate([values for _, values in rows])
    if not len(everything):
        return
    low, high = everything.min(axis=0), everything.max(axis=0)
    still = np.flatnonzero(low == high)
    if len(still):
        message = f"number {_listed(still)} of the action is {_listed(low[still])} in every row"
        yield Finding("constant action", message, len(still) == len(low))
    for number in sorted(set(range(len(low))) - set(still.tolist())):
        values = everything[:, number]
        if len(np.unique(values[:10_000])) <= FEW_VALUES:
            continue
        for side, limit in (("highest", high[number]), ("lowest", low[number])):
            share = float((values == limit).mean())
            if share >= SATURATED:
                episode = next(episode for episode, one in rows if (one[:, number] == limit).any())
                message = f"number {number} of the action has its {side} value, {limit:g}, in {share:.0%} of all rows"
                yield Finding("saturated action", f"{message}, first in this episode", False, episode)
    for episode, values in rows:
        moves = low < high
        if len(values) >= SHORTEST and moves.any() and (values[:, moves] == values[0, moves]).all():
            yield Finding("constant action", f"the action never changes in {len(values)} rows", False, episode)


def _check_lengths(data: Reader) -> Iterator[Finding]:
    for episode in np.flatnonzero(data.lengths < 2).tolist():
        rows = int(data.lengths[episode])
        yield Finding("short episode", f"{rows} row{'s' * (rows != 1)}: no action is seen in it", False, episode)


def _check_twins(data: Reader) -> Iterator[Finding]:
    """Episodes with the same numbers: a held-out one would be known from training."""
    seen: dict[bytes, int] = {}
    names = [name for name in QUANTITIES if name in data.columns]
    for episode in range(len(data)):
        if data.lengths[episode] < SHORTEST:
            continue
        content = hashlib.sha256()
        for rows in data.episode(episode, names).values():
            content.update(np.ascontiguousarray(rows).tobytes())
        first = seen.setdefault(content.digest(), episode)
        if first != episode:
            yield Finding("same episode twice", f"its numbers are those of episode {first}", False, episode)


def _check_times(data: Reader) -> Iterator[Finding]:
    """Time stamps that go back, leave gaps, or run at another rate than the one that is told."""
    if "timestamp" not in data.columns or int(np.prod(data.columns["timestamp"][0])) != 1:
        return
    times = [(episode, values.astype(np.float64).ravel()) for episode, values in _episodes(data, "timestamp")]
    for episode, values in times:
        if not (finite := np.isfinite(values)).all():
            row = int(finite.argmin())
            message = f"the time is not finite in {counted(int((~finite).sum()), 'row')}, {values[row]} here"
            yield Finding("time stamps", message, True, episode, row)
    times = [(episode, values) for episode, values in times if np.isfinite(values).all()]
    steps = np.concatenate([np.empty(0), *(np.diff(values) for _, values in times)])
    if not len(steps) or not np.median(steps) > 0:
        if len(steps):
            yield Finding("time stamps", f"half of them do not grow ({np.median(steps):g} s apart)", True)
        return
    usual = float(np.median(steps))
    rate = data.meta.control_rate or 1 / usual
    for episode, values in times:
        apart = np.diff(values)
        if (back := apart <= 0).any():
            row = int(back.argmax()) + 1
            yield Finding("time stamps", f"time goes back or stands, by {apart[row - 1]:g} s", True, episode, row)
            continue
        if (wide := apart > 1.5 * max(usual, 1 / rate)).any():
            row = int(wide.argmax()) + 1
            lost = int(np.round(apart[wide] * rate - 1).clip(1).sum())
            message = f"{apart[row - 1]:.3g} s after the row before, about {lost} rows are lost in the episode"
            yield Finding("gap in time", message, True, episode, row)
            continue
        drift = (values[-1] - values[0]) - len(apart) / rate
        if len(apart) and abs(drift) > 1 / rate:
            found = len(apart) / (values[-1] - values[0])
            row = int((np.abs(values - values[0] - np.arange(len(values)) / rate) > 1 / rate).argmax())
            message = f"time stamps drift by {drift:+.3g} s: the rate is {found:.4g} Hz, it is told as {rate:g}"
            yield Finding("time stamps drift", message, abs(found / rate - 1) > RATE_OFF, episode, row)


def _check_lost_rows(data: Reader) -> Iterator[Finding]:
    """Numbers of rows that jump, where the recorder counted them."""
    name = next((one for one in ("frame_index", "step_idx") if one in data.columns), None)
    if name is None or int(np.prod(data.columns[name][0])) != 1:
        return
    for episode, values in _episodes(data, name):
        jumps = np.diff(values.ravel().astype(np.int64)) != 1
        if jumps.any():
            row = int(jumps.argmax()) + 1
            message = (
                f"{name} goes from {values.ravel()[row - 1]} to {values.ravel()[row]}: rows are lost or out of order"
            )
            yield Finding("lost rows", message, True, episode, row)


def _episodes(data: Reader, name: str) -> Iterator[tuple[int, NDArray[np.float64]]]:
    for episode in range(len(data)):
        if data.lengths[episode]:
            yield episode, data.episode(episode, [name])[name]


def _listed(values: NDArray[Any]) -> str:
    return ", ".join(f"{value:g}" for value in values.tolist())
