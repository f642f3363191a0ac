"""Statistics: what was counted, and text that Prometheus can read."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from wmplan.control.realtime.telemetry import Statistics

LINE = re.compile(
    r'[a-zA-Z_:][a-zA-Z0-9_:]*(\{[a-zA-Z_]\w*="(?:[^"\\\n]|\\.)*"(,[a-zA-Z_]\w*="(?:[^"\\\n]|\\.)*")*\})? \S+'
)


def filled() -> Statistics:
    statistics = Statistics()
    for label, number in (("used", 96), ("late", 3), ("failed", 1), ("discarded", 7), ("warmup", 1)):
        statistics.count("plans", label, number)
    for value in np.arange(1, 101) / 1000:
        statistics.measure("plan_seconds", float(value))
    for _ in range(10):
        statistics.measure("interval_seconds", 0.05)
    statistics.error(ValueError('a "quoted"\nerror'))
    statistics.state = "FOLLOW"
    return statistics


def test_as_numbers() -> None:
    told = json.loads(json.dumps(filled().as_dict()))
    assert told["missed_deadlines"] == pytest.approx(0.04) and told["control_rate"] == pytest.approx(20)
    assert told["plan_seconds"]["p50"] == pytest.approx(0.0505) and told["plan_seconds"]["count"] == 100
    assert told["plan_seconds"]["p99"] == pytest.approx(np.percentile(np.arange(1, 101) / 1000, 99))
    assert told["plan_seconds"]["max"] == pytest.approx(0.1) and told["age_seconds"]["p95"] is None
    assert told["errors"] == {"ValueError": 1} and told["last_error"].startswith("ValueError: a")


def test_as_a_line() -> None:
    line = filled().line()
    assert "\n" not in line and line.startswith("FOLLOW | 20.0 Hz | plan p50/p95/p99 50/95/99 ms | missed 4.0 %")
    assert "errors ValueError 1" in line
    assert Statistics().line().startswith("HOLD | - Hz")


def test_as_prometheus_text() -> None:
    text = filled().prometheus({"robot": 'the "left"\\one\n'})
    assert text.endswith("\n")
    lines = text.splitlines()
    for line in lines:
        assert line.startswith("# TYPE ") or LINE.fullmatch(line), line
    label = r'robot="the \"left\"\\one\n"'
    assert f'wmplan_control_plans_total{{{label},kind="late"}} 3' in lines
    assert f'wmplan_control_plan_seconds{{{label},quantile="0.5"}} 0.0505' in lines
    assert f"wmplan_control_plan_seconds_count{{{label}}} 100" in lines
    assert f'wmplan_control_state{{{label},state="FOLLOW"}} 1' in lines
    types = [line.split()[2] for line in lines if line.startswith("#")]
    assert len(types) == len(set(types))  # one a metric, each before its values
    assert "wmplan_control_errors_total 0" in Statistics().prometheus().splitlines()


def test_percentiles_are_of_the_newest_and_memory_is_bounded() -> None:
    statistics = Statistics()
    for value in [100.0] * 1000 + [1.0] * 1000:
        statistics.measure("seam", value)
    told = statistics.as_dict()["seam"]
    assert told == {"count": 2000, "mean": 50.5, "max": 100.0, "p50": 1.0, "p95": 1.0, "p99": 1.0}
