"""A clock of the caller's that does what it likes."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmplan.control.realtime.checked_clock import CheckedClock


class Broken:
    """A clock that shows, or raises, one thing after another."""

    def __init__(self, *shown: Any) -> None:
        self.shown = itertools.chain([0.0], shown, itertools.repeat(shown[-1]))

    def __call__(self) -> Any:
        now = next(self.shown)
        if isinstance(now, Exception):
            raise now
        return now


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.floats() | st.integers() | st.none() | st.text(max_size=3) | st.just(OSError("gone")) | st.just(10**400),
        min_size=1,
        max_size=20,
    )
)
def test_it_never_raises_and_never_runs_backwards(shown: list[Any]) -> None:
    clock, last = CheckedClock(Broken(*shown)), 0.0
    for _ in shown:
        now = clock()
        assert math.isfinite(now) and now >= last
        last = now


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (math.nan, "shows nan"),
        ("noon", "cannot be read: ValueError"),
        (None, "cannot be read: TypeError"),
        (OSError("no time server"), "no time server"),
        (-3.0, "went back by 3 s"),
        (1e12, "leapt"),
    ],
)
def test_what_is_wrong_is_told_until_it_is_started_anew(shown: Any, said: str) -> None:
    clock = CheckedClock(Broken(shown, shown, 5.0))
    assert clock() == 0.0
    assert clock.fault is not None and said in clock.fault
    clock(), clock()
    clock.restart()
    assert clock.fault is None and clock() == 5.0


def test_a_little_way_back_is_waited_for() -> None:
    clock = CheckedClock(Broken(1.0, 0.95, 1.05))
    assert [clock(), clock(), clock()] == [1.0, 1.0, 1.05] and clock.fault is None


@pytest.mark.parametrize("clock", [12.5, lambda: "noon", lambda: math.inf])
def test_what_is_no_clock_is_refused_at_once(clock: Any) -> None:
    with pytest.raises(ValueError, match="clock"):
        CheckedClock(clock)
