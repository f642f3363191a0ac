"""A reset while the robot moves: what is sent goes on from there, and the planner is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from wmplan.control.realtime.config import RealtimeConfig
from wmplan.control.safety.limits import Limits
from wmplan.control.safety.workspace import Workspace

PLAIN = RealtimeConfig(warmup=0, log_seconds=None)
SLOW = Limits((-1.0,), (1.0,), max_change=(0.1,))


def moving(simulate: Any, limits: Limits = SLOW, config: RealtimeConfig = PLAIN, **options: Any) -> Any:
    """A robot that was told to move at 0.9, then to reset and go the other way."""
    heading = {"now": 0.9}
    sim = simulate(limits, config, actions=lambda step, plan: [heading["now"]], **options)
    sim.reset()
    for _ in range(20):
        sim.tick()
    assert sim.sent[-1][0] == pytest.approx(0.9)
    heading["now"] = -0.9
    return sim


@pytest.mark.parametrize("acceleration", [None, (0.03,)])
@pytest.mark.parametrize("compensation", [True, False])
def test_no_change_is_larger_than_it_may_be(simulate: Any, acceleration: Any, compensation: bool) -> None:
    config = replace(PLAIN, compensation=compensation)
    sim = moving(simulate, replace(SLOW, max_acceleration=acceleration), config)
    for _ in range(3):
        sim.reset()
        for _ in range(4):
            sim.tick()
    for _ in range(30):
        sim.tick()
    sent = np.concatenate(sim.sent)
    assert np.abs(np.diff(sent)).max() <= 0.1 + 1e-6 and sent[-1] == pytest.approx(-0.9)
    if acceleration is not None:
        assert np.abs(np.diff(sent, 2)).max() <= 0.03 + 1e-6


def test_the_planner_is_told_how_the_robot_slows_down(simulate: Any, answer: Any) -> None:
    sim = moving(simulate, answer=lambda now: answer(0.13))
    sim.reset()
    before = len(sim.requests)
    for _ in range(12):
        sim.tick()
    request, step, _ = sim.requests[before]
    assert step == 0 and len(request.executed) == 0
    np.testing.assert_allclose(request.committed[:, 0], [0.8, 0.7], atol=1e-6)
    np.testing.assert_allclose(np.concatenate(sim.sent[20:24]), [0.8, 0.7, 0.6, 0.5], atol=1e-6)
    assert sim.loop.statistics.counter("plans", "late") == 0


def test_a_plan_that_goes_on_from_what_is_committed_breaks_no_limit(simulate: Any) -> None:
    sim = moving(simulate)
    before = sim.loop.statistics.counter("violations")
    sim.actions = lambda step, plan: [0.9 - 0.1 * (step + 1)]
    sim.reset()
    for _ in range(8):
        sim.tick()
    assert sim.states[-1] == "FOLLOW" and sim.loop.statistics.counter("violations") == before


def test_a_robot_put_to_rest_begins_there(simulate: Any) -> None:
    sim = moving(simulate)
    sim.loop.reset({"pixels": np.zeros((4, 4, 3), np.uint8)}, 0, sim.now, at_rest=True)
    assert float(sim.tick()[0]) == 0.0
    sent = [float(sim.tick()[0]) for _ in range(4)]
    assert sent[-1] < 0 and max(np.abs(np.diff([0.0, *sent]))) <= 0.1 + 1e-6


def test_a_safe_stop_that_is_reset_while_it_brakes_goes_on_from_there(simulate: Any) -> None:
    sim = moving(simulate)
    sim.loop.stop("stopped", sim.now)
    sim.tick()
    sim.reset()
    sim.tick()
    assert sim.states[-1] == "HOLD"
    np.testing.assert_allclose(np.concatenate(sim.sent[-3:]), [0.9, 0.8, 0.7], atol=1e-6)


def test_a_plan_for_a_robot_that_brakes_is_not_for_one_that_stands(simulate: Any, answer: Any) -> None:
    sim = moving(simulate, config=replace(PLAIN, hold_seconds=60), answer=lambda now: answer(1e9 if now > 2 else 0.03))
    while sim.states[-1] != "HOLD":
        sim.tick()
    sim._busy, sim.answer = None, lambda now: answer(0.03)
    before = len(sim.requests)
    sim.tick()
    request, _, _ = sim.requests[before]
    assert len(request.committed) >= 1 and request.committed[0, 0] == pytest.approx(sim.sent[-1][0])


def test_a_state_shorter_than_the_workspace_reads_is_refused(simulate: Any) -> None:
    box = Workspace((-0.3,), (0.3,), action=(0,), proprio=(3,), gain=0.1)
    sim = simulate(Limits((-1.0,), (1.0,), workspace=box), PLAIN, actions=lambda step, plan: [0.5])
    sim.reset()
    for _ in range(5):
        sim.tick({**sim.picture(), "proprio": np.zeros(3)})
    assert sim.loop.state == "HOLD" and "the workspace reads 4" in sim.loop.reason
    for _ in range(5):
        sim.tick({**sim.picture(), "proprio": np.zeros(4)})
    assert sim.loop.state == "FOLLOW"
