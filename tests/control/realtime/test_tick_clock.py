"""Ticks by the clock: however the calls come, their count keeps the clock's speed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmplan.control.realtime.tick_clock import SLACK, TickClock


def counts(intervals: list[float], rate: float = 10.0) -> list[int]:
    """Ticks counted at a first call and after each interval, in periods."""
    clock, now = TickClock(rate), 100.0
    found = [clock.count(now)]
    for interval in intervals:
        now += interval / rate
        found.append(clock.count(now))
    return found


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(0, 5) | st.floats(0.9, 1.1) | st.sampled_from([0.0, 0.5, 1.5, 1000.0]), max_size=60))
def test_the_count_stays_near_the_clock_for_any_calls(intervals: list[float]) -> None:
    counted, elapsed = -1, -0.0
    for interval, ticks in zip([0.0, *intervals], counts(intervals), strict=True):
        elapsed += interval
        counted += ticks
        assert ticks >= 0
        assert -SLACK - 1e-6 <= counted - elapsed <= SLACK + 1e-6


@pytest.mark.parametrize("factor", [1.05, 1.5, 2.0, 3.0, 7.3, 100.0])
@pytest.mark.parametrize("faster", [True, False])
def test_calls_at_another_rate_change_no_speed(factor: float, faster: bool) -> None:
    interval = 1 / factor if faster else factor
    number = round(200 / interval) if faster else 50
    assert sum(counts([interval] * number)) - 1 == pytest.approx(interval * number, abs=SLACK)


def test_a_jitter_of_less_than_half_a_period_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(500) + rng.uniform(-0.24, 0.24, 500)  # each call near its own time
    assert set(counts(list(np.diff(times)))) == {1}


def test_what_a_stall_delayed_is_not_made_up_for_at_double_speed() -> None:
    assert counts([1, 1, 4, 0.01, 0.01, 0.98, 1]) == [1, 1, 1, 4, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("interval", "said"), [(1 / 3, "30 times a second"), (2.0, "5 times a second"), (0.0, "still")]
)
def test_another_rate_is_complained_of(interval: float, said: str) -> None:
    clock = TickClock(10.0)
    for call in range(30):
        clock.count(0.1 * interval * call)
    assert clock.complaint is not None and said in clock.complaint
    clock.reset()
    assert clock.complaint is None


def test_neither_jitter_nor_a_pause_is_complained_of() -> None:
    rng, clock, now = np.random.default_rng(1), TickClock(10.0), 0.0
    for call in range(400):
        now += 0.1 * rng.uniform(0.6, 1.4) + (60.0 if call % 150 == 100 else 0.0)
        clock.count(now)
        assert clock.complaint is None


def test_time_waited_in_a_call_does_not_count() -> None:
    clock = TickClock(10.0)
    clock.count(0.0)
    clock.waited(30.0)
    assert clock.count(30.1) == 1 and clock.interval == pytest.approx(0.1)
