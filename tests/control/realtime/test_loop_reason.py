"""The loop says why it holds, where one looks: reason, statistics and the log."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from wmplan.control.realtime.config import RealtimeConfig
from wmplan.control.realtime.reason import Reason

PLAIN = RealtimeConfig(warmup=0, log_seconds=None)
FRAME = np.zeros((4, 4, 3), np.uint8)


def test_causes_are_told_in_the_order_of_the_path() -> None:
    assert str(Reason()) == "" and Reason().causes() == []
    reason = Reason(
        "the plan has ended", plan="the planner failed", observation="no frame", rate="too fast", goal="bad"
    )
    assert str(reason) == "the plan has ended; too fast; no frame; bad; the planner failed"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"age": -1e9}, "(clock): captured 1e+09 s in the future"),
        (
            {"observation": {"pixels": FRAME / 255}},
            "(shape): 'pixels' must be uint8 of shape (4, 4, 3), as in the goal, got float64",
        ),
        ({"observation": {"pixels": FRAME[:2]}}, "(shape)"),
        ({"observation": {"camera": FRAME}}, "(missing): it has no 'pixels', only 'camera'"),
        ({"observation": {"pixels": FRAME, "proprio": [np.nan]}}, "(non_finite)"),
        ({"age": 52000.0}, "(stale): captured 5.2e+04 s ago, max_age is 0.5; is captured_at of"),
        ({"observation": None}, "(missing): there is none"),
    ],
)
def test_frames_that_are_all_refused_are_the_reason(simulate: Any, arguments: Any, said: str, caplog: Any) -> None:
    sim = simulate(config=replace(PLAIN, first_seconds=1.0))
    sim.reset()
    with caplog.at_level(logging.WARNING):
        for _ in range(8):
            sim.tick(**arguments)
    loop = sim.loop
    assert loop.state == "HOLD" and loop.reason.startswith("waiting for the first plan; ") and said in loop.reason
    assert loop.statistics.reason == loop.reason and loop.reason in loop.statistics.line()
    assert json.loads(json.dumps(loop.statistics.as_dict()))["reason"] == loop.reason
    assert [said in record.getMessage() for record in caplog.records] == [True]  # once, not at every tick
    for _ in range(5):
        sim.tick(**arguments)
    assert loop.state == "SAFE_STOP" and loop.reason.startswith("no_first_plan: ") and said in loop.reason
    assert loop.statistics.counter("stops", "no_first_plan") == 1


def test_a_frame_that_is_taken_ends_it(simulate: Any) -> None:
    sim = simulate(config=PLAIN)
    sim.reset()
    sim.tick(age=-5.0)
    assert "clock" in sim.loop.reason
    for _ in range(4):
        sim.tick()
    assert sim.loop.state == "FOLLOW" and sim.loop.reason is None and sim.loop.statistics.reason is None


@pytest.mark.parametrize(
    ("error", "spoil", "said"),
    [
        (ConnectionError("no route to host"), None, "the planner failed: ConnectionError: no route to host"),
        (None, lambda reply: replace(reply, cost=float("inf")), "the newest plan was refused: its cost is inf"),
        (
            None,
            lambda reply: replace(reply, actions=reply.actions[:, :1]),
            "refused: its actions must have shape (robot steps, 2), got (20, 1)",
        ),
        (None, lambda reply: replace(reply, surprise="high"), "refused: its surprise must be a number, got a str"),
    ],
)
def test_what_was_wrong_with_the_plan_is_the_reason(
    simulate: Any, answer: Any, error: Any, spoil: Any, said: str
) -> None:
    bad = {"now": True}

    def reply(now: float) -> Any:
        return answer(0.03, error, spoil or (lambda reply: reply)) if bad["now"] else answer(0.03)

    sim = simulate(config=replace(PLAIN, retry_seconds=0.05), answer=lambda now: answer(0.03))
    sim.reset()
    sim.tick()
    sim.run(sim.now + 0.01)  # the goal is told
    sim.answer = reply
    for _ in range(32):
        sim.tick()
    assert sim.loop.state == "HOLD" and sim.loop.reason.startswith("the plan has ended; ") and said in sim.loop.reason
    for _ in range(22):
        sim.tick()
    assert sim.loop.state == "SAFE_STOP" and sim.loop.reason.startswith("hold_too_long: ") and said in sim.loop.reason
    sim.reset()
    assert sim.loop.reason == "waiting for the first plan"
    bad["now"] = False
    for _ in range(5):
        sim.tick()
    assert sim.loop.state == "FOLLOW" and sim.loop.reason is None


def test_a_goal_that_is_not_taken_is_the_reason_until_it_is(simulate: Any, answer: Any) -> None:
    sim = simulate(config=PLAIN, answer=lambda now: answer(0.03, ValueError("goal is black") if now < 1 else None))
    sim.reset()
    for _ in range(5):
        sim.tick()
    assert sim.loop.reason == "waiting for the first plan; the planner did not take the goal: ValueError: goal is black"
    for _ in range(20):
        sim.tick()
    assert sim.loop.state == "FOLLOW" and sim.loop.reason is None


def test_a_planner_that_says_much_makes_a_short_reason(simulate: Any, answer: Any) -> None:
    class Unspeakable(RuntimeError):
        def __str__(self) -> str:
            raise OSError("no words")

    for error in (ValueError("x" * 10**6), ValueError("a\nb"), Unspeakable()):
        sim = simulate(config=PLAIN, answer=lambda now, error=error: answer(0.03, error))
        sim.reset()
        for _ in range(5):
            sim.tick()
        assert "the planner" in sim.loop.reason and len(sim.loop.reason) < 700 and "\n" not in sim.loop.reason


def test_leaving_a_plan_is_a_warning(simulate: Any, answer: Any, caplog: Any) -> None:
    sim = simulate(config=replace(PLAIN, hold_seconds=60.0), answer=lambda now: answer(1e9 if now > 1 else 0.03))
    with caplog.at_level(logging.INFO):
        sim.reset()
        for _ in range(40):
            sim.tick()
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    words = "FOLLOW -> HOLD: the plan has ended; the planner has been at work for 2.0 s"
    assert told == [("INFO", "HOLD -> FOLLOW"), ("WARNING", words)]


def test_a_planner_that_is_slow_is_the_reason(simulate: Any, answer: Any) -> None:
    sim = simulate(config=replace(PLAIN, hold_seconds=1.0), answer=lambda now: answer(0.03 if now < 1 else 4.05))
    sim.reset()
    for _ in range(35):
        sim.tick()
    assert sim.loop.state == "HOLD" and "the planner has been at work for 2.4 s" in sim.loop.reason
    for _ in range(10):
        sim.tick()
    assert sim.loop.state == "SAFE_STOP" and sim.loop.reason.startswith("hold_too_long: the planner has been at work")


def test_times_of_another_clock_are_named(simulate: Any) -> None:
    sim = simulate(config=PLAIN)
    sim.reset()
    for _ in range(15):
        sim.tick(age=sim.now - time.time())  # captured_at = time.time()
    assert sim.loop.state == "HOLD" and "clock" in sim.loop.reason
