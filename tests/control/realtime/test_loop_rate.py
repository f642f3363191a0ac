"""act() at another rate than was told: the plan keeps the clock's speed, and it is said."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from wmplan.control.realtime.config import RealtimeConfig
from wmplan.control.realtime.tick_clock import SLACK
from wmplan.control.safety.limits import Limits

PLAIN = RealtimeConfig(warmup=0, log_seconds=None, hold_seconds=60.0)
WIDE = Limits((0.0,), (100.0,))


def step_label(step: int, plan: int) -> list[float]:
    """The action of robot step `step` is its number."""
    return [step % 100]


def drive(sim: Any, factor: float, seconds: float = 6.0) -> list[tuple[float, float]]:
    """Calls `factor` times as often as was told: the time of each, in robot steps of 0.1 s, and the action sent."""
    sim.reset()
    return [
        (10 * sim.now, float(action[0]))
        for action in (sim.tick(after=1 / (sim.rate * factor)) for _ in range(round(seconds * sim.rate * factor)))
    ]


@pytest.mark.parametrize("factor", [0.2, 0.5, 0.77, 0.95, 1.0, 1.05, 1.3, 2.0, 3.0, 10.0])
@pytest.mark.parametrize("rate", [10.0, 40.0])
def test_the_clock_says_which_action_is_due(simulate: Any, factor: float, rate: float) -> None:
    sim = simulate(WIDE, PLAIN, rate=rate, step_rate=10.0, actions=step_label, length=40)
    told = drive(sim, factor)
    first = told[0][0]
    following = [(at - first, step) for at, step in told if at > 8 and step > 0]
    assert len(following) > 0.7 * len(told)
    assert max(abs(at - step) for at, step in following) <= SLACK * 10 / rate + 1.01
    rejected = sim.loop.statistics.counter("rejected")
    assert rejected == 0 and set(sim.states[-5:]) == {"FOLLOW"}


@pytest.mark.parametrize(("factor", "counter"), [(3.0, "early"), (0.4, "skipped")])
def test_another_rate_is_counted_and_told(simulate: Any, caplog: Any, factor: float, counter: str) -> None:
    sim = simulate(WIDE, PLAIN, actions=step_label, length=40)
    with caplog.at_level(logging.WARNING):
        calls = len(drive(sim, factor, seconds=8.0))
    statistics, said = sim.loop.statistics, f"act() is called {10 * factor:.3g} times a second, control_rate says 10"
    assert sim.loop.state == "FOLLOW" and sim.loop.reason == statistics.reason == said and said in statistics.line()
    assert [said in record.getMessage() for record in caplog.records] == [True]
    expected = calls - 80 if counter == "early" else 80 - calls
    assert statistics.counter(counter) == pytest.approx(expected, abs=SLACK + 2)
    for _ in range(100):
        sim.tick()
    assert sim.loop.reason is None  # once the calls come as they should


def test_the_rate_that_was_told_is_no_reason(simulate: Any) -> None:
    rng, sim = np.random.default_rng(0), simulate(WIDE, PLAIN, actions=step_label)
    sim.reset()
    for _ in range(200):
        sim.tick(after=0.1 * rng.uniform(0.8, 1.2))
        assert sim.loop.state == "HOLD" or sim.loop.reason is None


def test_calls_that_come_too_often_change_no_faster_in_time(simulate: Any) -> None:
    limits = Limits((-1.0,), (1.0,), max_change=(0.05,))
    sim = simulate(limits, PLAIN, actions=lambda step, plan: [0.9 if step % 20 < 10 else -0.9], length=40)
    sent = [action for _, action in drive(sim, 5.0)]
    for index in range(len(sent) - 50):  # a second is ten robot steps
        assert abs(sent[index + 50] - sent[index]) <= 0.05 * (10 + 2 * SLACK) + 1e-6


def test_a_call_too_early_repeats_the_action_and_still_asks_the_e_stop(simulate: Any) -> None:
    pressed = {"now": False}
    limits = Limits((-1.0,), (1.0,), max_change=(0.1,), estop=lambda: pressed["now"])
    sim = simulate(limits, PLAIN, actions=lambda step, plan: [0.9])
    sim.reset()
    for _ in range(10):
        sim.tick()
    last, observation = sim.sent[-1], sim.picture()
    for _ in range(5):
        np.testing.assert_array_equal(sim.tick(observation, after=0.0), last)
    assert sim.loop.statistics.counter("early") == 5
    pressed["now"] = True
    assert float(sim.tick(observation, after=0.0)[0]) == pytest.approx(float(last[0]) - 0.1)
    assert sim.states[-1] == "SAFE_STOP" and sim.loop.reason == "estop"


def test_the_action_that_is_returned_is_the_callers_own(simulate: Any) -> None:
    sim = simulate(WIDE, PLAIN, actions=step_label)
    sim.reset()
    for after in (0.1, 0.1, 0.1, 0.1, 0.0, 0.0):
        sim.tick(after=after)[:] = np.nan  # whatever is done to it
    assert np.isfinite(sim.tick()).all() and np.isfinite(sim.loop.gate.last).all()


@pytest.mark.parametrize(
    ("control_rate", "step_rate", "said"),
    [
        (float("nan"), 10.0, "control_rate"),
        (float("inf"), 10.0, "control_rate"),
        ("10", 10.0, "control_rate"),
        (True, 1.0, "control_rate"),
        (10.0, float("nan"), "step_rate"),
        (10.0, None, "step_rate"),
        (10.0, 0.0, "got 10 and 0"),
        (-10.0, -10.0, "got -10 and"),
        (1e300, 10.0, "got 1e"),
        (1e-300, 1e-300, "got 1e"),
        (10.0, 20.0, "got 10 and 20"),
    ],
)
def test_rates_that_cannot_be_are_refused(control_rate: Any, step_rate: Any, said: str) -> None:
    from wmplan.control.realtime.state_machine import ControlLoop

    with pytest.raises(ValueError, match=said):
        ControlLoop(WIDE, control_rate, step_rate, replace(PLAIN))
