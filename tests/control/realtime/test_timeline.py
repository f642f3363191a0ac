"""The timeline against one that writes every robot step down."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wmplan.control.realtime.timeline import KEPT, Timeline, following

REST = np.zeros(1, np.float32)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("bicse"), st.integers(0, 12), st.integers(1, 15)), max_size=40))
def test_it_is_a_table_of_robot_steps(events: list[tuple[str, int, int]]) -> None:
    timeline, planned, sent = Timeline(REST), {}, {}  # type: Timeline, dict[int, float], dict[int, list[float]]
    timeline.begin(1)
    for number, (event, offset, length) in enumerate(events):
        now = timeline.next - 1
        if event == "b":
            for step in range(now + 1, now + length):
                sent[step] = [sent.get(now, [0.0])[-1]]
            timeline.begin(length)
        elif event == "i":
            first = timeline.free
            begin = max(0, first + offset - 6)
            rows = np.float32(np.arange(length) + 100 * number)[:, None]
            jump = timeline.install(rows, begin, first, float(number))
            at = max(begin, first)
            if begin + length > at:
                old = planned.get(at)
                planned = {step: row for step, row in planned.items() if step < at}
                planned |= {begin + index: float(row[0]) for index, row in enumerate(rows) if begin + index >= at}
                assert jump == (None if old is None else abs(planned[at] - old))
            else:
                assert jump is None
        elif event == "c":
            timeline.cut(now + offset)
            planned = {step: row for step, row in planned.items() if step < now + offset}
        elif event == "s":
            timeline.sent(np.float32([number]))
            sent.setdefault(now, []).append(float(number))
        now = timeline.next - 1
        rows = following(timeline.plans, now, now + 40)
        assert [None if row is None else float(row[0]) for row in rows] == [planned.get(now + i) for i in range(40)]
        there = timeline.planned(now)
        assert (None if there is None else float(there.actions[0, 0])) == planned.get(now)
        assert timeline.is_empty == (not any(step >= timeline.free for step in planned))
        begin = max(0, now - 20)
        expected = [float(np.mean(sent.get(step, [0.0]))) for step in range(begin, now + 1)]
        np.testing.assert_allclose(timeline.executed(begin, now + 1)[:, 0], expected, rtol=1e-6)


def test_what_is_long_ago_is_forgotten() -> None:
    timeline = Timeline(REST)
    for step in range(1000):
        timeline.begin(1)
        timeline.sent(np.float32([step]))
    assert len(timeline._sent) <= KEPT + 1
    timeline.begin(10**9)  # a clock that leapt
    assert len(timeline._sent) <= KEPT + 1 and timeline.next == 1000 + 10**9
