"""What planning time is reckoned with."""

from __future__ import annotations

import pytest

from wmplan.control.realtime.latency import PlanningTime


def test_warm_up_does_not_count_and_one_hiccup_is_no_habit() -> None:
    time = PlanningTime(first=0.1, quantile=0.95, warmup=2)
    assert [time.add(seconds) for seconds in (30.0, 5.0)] == [False, False] and time.expected == 0.1
    for seconds in (0.03, 0.04, 3.0, 0.05):
        assert time.add(seconds)
    assert time.expected == pytest.approx(0.05)
    for _ in range(10):
        time.add(3.0)
    assert time.expected == 3.0
    for _ in range(200):  # what is long ago is forgotten
        time.add(0.02)
    assert time.expected == pytest.approx(0.02)
