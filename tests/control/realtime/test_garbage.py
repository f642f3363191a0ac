"""Garbage on both sides of the real controller: it answers within its limits, says why, and goes on planning."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmplan.control.backend import PlanReply, PlanRequest
from wmplan.control.realtime.config import RealtimeConfig
from wmplan.control.realtime.controller import RealtimeController
from wmplan.control.safety.limits import Limits

LIMITS = Limits((-1.0, -0.5), (1.0, 0.5), max_change=(0.2, 0.2))
GOAL = {"pixels": np.zeros((4, 4, 3), np.uint8)}
ROWS = np.full((20, 2), 0.5, np.float32)
QUIET = RealtimeConfig(log_seconds=None, hold_seconds=1e6, first_seconds=1e6, retry_seconds=0.01)
PATIENT = 60.0  # seconds that a test waits for what has to come


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now: Any = 0.0

    def __call__(self) -> Any:
        return self.now


class Planner:
    """Answers as it is told: a reply from a request, or what it raises."""

    def __init__(self) -> None:
        self.answer: Callable[[PlanRequest], Any] = good

    def set_goal(self, goal: Any) -> None: ...

    def reset(self, seed: int) -> None: ...

    def plan(self, request: PlanRequest) -> Any:
        return self.answer(request)


def good(request: PlanRequest, **other: Any) -> PlanReply:
    return replace(PlanReply(ROWS, request.epoch, 1.0, 1.0), **other)


def raising(error: BaseException) -> Callable[[PlanRequest], Any]:
    def answer(request: PlanRequest) -> Any:
        raise error

    return answer


class Frames:
    """A picture that differs from the one before."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self) -> dict[str, Any]:
        self.number += 1
        return {"pixels": np.full((4, 4, 3), self.number % 250, np.uint8)}


def settle(pilot: RealtimeController) -> None:
    """Wait until the planner has nothing to do."""
    with pilot._changed:
        assert pilot._changed.wait_for(lambda: not pilot.loop.awaits_plan, PATIENT), "the planner does not go on"


def drive(pilot: RealtimeController, clock: Clock, frames: Frames, ticks: int = 3) -> None:
    """Ticks with good observations, each planned from."""
    for _ in range(ticks):
        clock.now += 0.1
        pilot.act(frames())
        settle(pilot)


class BrokenArray:
    shape, ndim, dtype = (4, 4, 3), 3, np.dtype(np.uint8)

    def __array__(self, *arguments: Any, **options: Any) -> np.ndarray:
        raise RuntimeError("the camera is gone")


REPLIES: dict[str, Callable[[PlanRequest], Any]] = {
    "none": lambda request: None,
    "a dict": lambda request: {"actions": ROWS},
    "text": lambda request: "go left",
    "bare actions": lambda request: ROWS,
    "its class": lambda request: PlanReply,
    "no actions": lambda request: good(request, actions=None),
    "ragged": lambda request: good(request, actions=[[1, 2], [3]]),
    "objects": lambda request: good(request, actions=np.array([[{}, None]], object)),
    "texts": lambda request: good(request, actions=[["1", "2"]]),
    "half a million rows": lambda request: good(request, actions=np.zeros((500_000, 2))),
    "half a million rows in a list": lambda request: good(request, actions=[[0.0, 0.0]] * 500_000),
    "not a number": lambda request: good(request, actions=ROWS * math.nan),
    "complex": lambda request: good(request, actions=ROWS * 1j),
    "huge": lambda request: good(request, actions=ROWS.astype(float) * 1e300),
    "cost none": lambda request: good(request, cost=None),
    "cost text": lambda request: good(request, cost="low"),
    "surprise text": lambda request: good(request, surprise="high"),
    "actions that raise": lambda request: good(request, actions=BrokenArray()),
    "an error": raising(ValueError("x" * 10**6)),
    "a reply that cannot be made": lambda request: PlanReply(),  # type: ignore[call-arg]
    "out of memory": raising(MemoryError()),
    "exit": raising(SystemExit(3)),
    "cancelled": raising(asyncio.CancelledError()),
    "a group": raising(BaseExceptionGroup("several", [SystemExit(1), ValueError("x")])),
    "a generator's end": raising(GeneratorExit()),
}


@pytest.mark.parametrize("kind", REPLIES)
def test_what_is_no_plan_is_refused_told_and_planning_goes_on(kind: str) -> None:
    clock, planner, frames = Clock(), Planner(), Frames()
    with RealtimeController(planner, LIMITS, 10.0, QUIET, clock=clock) as pilot:
        pilot.reset(GOAL)
        planner.answer = REPLIES[kind]
        drive(pilot, clock, frames)
        assert pilot.state == "HOLD" and pilot.reason is not None and pilot.statistics.last_error is not None
        assert "the newest plan was refused: " in pilot.reason or "the planner failed: " in pilot.reason
        assert pilot.statistics.counter("plans", "failed") == 3 and len(pilot.reason) < 1000
        planner.answer = good
        drive(pilot, clock, frames)
        assert pilot.state == "FOLLOW" and pilot.reason is None
        pilot.reset(GOAL)


@pytest.mark.parametrize(
    "make",
    [
        lambda frame: {**frame, "pixels": [[1, 2], [3]]},
        lambda frame: {**frame, "pixels": BrokenArray()},
        lambda frame: {**frame, "proprio": BrokenArray()},
        lambda frame: {**frame, "proprio": [[1], [1, 2]]},
        lambda frame: {"camera": frame["pixels"]},
        lambda frame: "a picture",
        lambda frame: 5,
        lambda frame: [frame],
        lambda frame: (frame, "late"),
        lambda frame: (frame, math.nan),
        lambda frame: (frame, True),
        lambda frame: (frame, -3.0),
        lambda frame: (frame, 10**400),
        lambda frame: (frame, 1e300),
        lambda frame: (frame, BrokenArray()),
    ],
)
def test_what_is_no_observation_is_refused_told_and_planning_goes_on(make: Callable[[Any], Any]) -> None:
    clock, frames = Clock(), Frames()
    with RealtimeController(Planner(), LIMITS, 10.0, QUIET, clock=clock) as pilot:
        pilot.reset(GOAL)
        for _ in range(3):
            clock.now += 0.1
            made = make(frames())
            np.testing.assert_array_equal(pilot.act(*made) if isinstance(made, tuple) else pilot.act(made), 0.0)
        assert (
            pilot.state == "HOLD" and pilot.reason is not None and "the newest observation was refused" in pilot.reason
        )
        assert pilot.statistics.counter("rejected") == 3
        drive(pilot, clock, frames)
        assert pilot.state == "FOLLOW" and pilot.reason is None


@pytest.mark.parametrize(
    "extra", [{"notes": [[1], [1, 2]]}, {"lidar": BrokenArray()}, {3: "x"}, {"info": {"a": object()}}, {"log": None}]
)
def test_what_no_one_asked_for_harms_nothing(extra: dict[Any, Any]) -> None:
    clock, frames = Clock(), Frames()
    with RealtimeController(Planner(), LIMITS, 10.0, QUIET, clock=clock) as pilot:
        pilot.reset(GOAL)
        for _ in range(3):
            clock.now += 0.1
            pilot.act({**extra, **frames()})
            settle(pilot)
        assert pilot.state == "FOLLOW" and pilot.statistics.counter("rejected") == 0


# ------------------------------------------------------------------ any of it, on both sides

BITS = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.complex_numbers()
    | st.text(max_size=3)
    | st.sampled_from(
        [ROWS, -ROWS * 100, ROWS[:1], ROWS * np.nan, np.zeros((4, 4, 3), np.uint8), BrokenArray(), object()]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["pixels", "proprio", "actions", "notes"]) | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)
PLANS = st.one_of(
    st.sampled_from([good, *REPLIES.values()]),
    BITS.map(lambda bits: lambda request: bits),
    st.tuples(BITS, BITS | st.just(1.0), BITS | st.none()).map(
        lambda parts: lambda request: PlanReply(parts[0], request.epoch, parts[1], 1.0, parts[2])
    ),
)
WAITS = st.sampled_from([0.1, 0.1, 0.1, 0.0, 0.03, 0.25, 5.0])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(PLANS, BITS | st.none(), BITS | st.none(), WAITS, st.booleans()), min_size=1, max_size=12),
    st.sampled_from(["ignore", "replan", "hold"]),
)
def test_whatever_comes_from_either_side(calls: list[Any], surprise_action: Any) -> None:
    clock, planner, frames = Clock(), Planner(), Frames()
    config = replace(QUIET, surprise_threshold=3.0, surprise_action=surprise_action)
    low, high, last = np.float32(LIMITS.low), np.float32(LIMITS.high), np.zeros(2)
    with RealtimeController(planner, LIMITS, 10.0, config, clock=clock) as pilot:
        pilot.reset(GOAL)
        for answer, observation, captured_at, wait, starts_anew in calls:
            planner.answer, before = answer, clock.now
            if starts_anew:
                pilot.reset(GOAL)
            for seen, at in ((observation, captured_at), (frames(), None)):
                clock.now += wait
                action = pilot.act(seen, at)
                assert action.dtype == np.float32 and np.isfinite(action).all()
                assert (action >= low).all() and (action <= high).all()
                assert (np.abs(action - last) <= 0.2 + 1e-6).all()
                assert (pilot.state == "FOLLOW") or pilot.reason
                last = action
            settle(pilot)
            assert clock.now >= before
        planner.answer = good
        drive(pilot, clock, frames, 15)
        assert pilot.state == "FOLLOW"
        np.testing.assert_allclose(pilot.loop.gate.last, [[0.5, 0.5]], atol=1e-6)


# ------------------------------------------------------------------ nothing of it holds act()


def act_beside(pilot: RealtimeController, frames: Frames) -> np.ndarray:
    """act() in a thread of its own, which must come back although the planner's thread is at something."""
    found: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: found.append(pilot.act(frames())), daemon=True)
    thread.start()
    thread.join(PATIENT)
    assert found, "act() was held"
    return found[0]


def test_a_reply_that_takes_long_to_read_holds_no_act() -> None:
    clock, planner, frames = Clock(), Planner(), Frames()
    reading, read_on = threading.Event(), threading.Event()

    class Slow:
        shape = ROWS.shape

        def __array__(self, *arguments: Any, **options: Any) -> np.ndarray:
            reading.set()
            assert read_on.wait(PATIENT)
            return ROWS

    planner.answer = lambda request: good(request, actions=Slow())
    with RealtimeController(planner, LIMITS, 10.0, QUIET, clock=clock) as pilot:
        pilot.reset(GOAL)
        pilot.act(frames())
        assert reading.wait(PATIENT)
        clock.now += 0.1
        assert not act_beside(pilot, frames).any()
        read_on.set()
        settle(pilot)
        clock.now += 0.1
        pilot.act(frames())
        assert pilot.state == "FOLLOW"


def test_what_is_committed_is_reckoned_without_holding_act(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, planner, frames = Clock(), Planner(), Frames()
    reckoning, go_on = threading.Event(), threading.Event()
    with RealtimeController(planner, LIMITS, 10.0, QUIET, clock=clock) as pilot:
        pilot.reset(GOAL)
        drive(pilot, clock, frames)
        preview = pilot.loop.gate.preview

        def slow(*arguments: Any) -> Any:
            reckoning.set()
            assert go_on.wait(PATIENT)
            return preview(*arguments)

        monkeypatch.setattr(pilot.loop.gate, "preview", slow)
        clock.now += 0.1
        pilot.act(frames())
        assert reckoning.wait(PATIENT)
        clock.now += 0.1
        np.testing.assert_allclose(act_beside(pilot, frames), 0.5, atol=0.11)
        go_on.set()
        settle(pilot)


def test_a_moving_robot_is_not_left_waiting_for_a_first_plan() -> None:
    clock, planner, frames, free = Clock(), Planner(), Frames(), threading.Event()
    config = replace(QUIET, wait_first=True, first_seconds=PATIENT)
    with RealtimeController(planner, LIMITS, 50.0, config, clock=clock) as pilot:
        pilot.reset(GOAL)
        for _ in range(4):
            clock.now += 0.02
            pilot.act(frames())
        assert pilot.state == "FOLLOW"
        planner.answer = lambda request: good(request) if free.wait(PATIENT) else None
        pilot.reset(GOAL)
        began, slowing = time.monotonic(), []
        for _ in range(2):
            clock.now += 0.02
            slowing.append(act_beside(pilot, frames))
        assert time.monotonic() - began < PATIENT / 2
        np.testing.assert_allclose(slowing, [[0.3, 0.3], [0.1, 0.1]], atol=1e-6)
        free.set()


def test_a_thread_that_broke_leaves_no_one_waiting() -> None:
    frames, planner = Frames(), Planner()
    planner.answer = raising(KeyboardInterrupt())
    pilot = RealtimeController(planner, LIMITS, 10.0, replace(QUIET, wait_first=True, first_seconds=1e6), clock=Clock())
    pilot.reset(GOAL)
    assert not act_beside(pilot, frames).any()
    assert pilot.state == "SAFE_STOP" and pilot.reason == "planning_thread_ended"
    with pytest.raises(KeyboardInterrupt):
        pilot.stop()


# ------------------------------------------------------------------ clocks, goals and rates


@pytest.mark.parametrize("shown", [-100.0, math.nan, math.inf, None, "noon", 1e15])
def test_a_clock_that_fails_stops_the_robot_until_reset(shown: Any) -> None:
    clock, frames = Clock(), Frames()
    with RealtimeController(Planner(), LIMITS, 10.0, QUIET, clock=clock) as pilot:
        pilot.reset(GOAL)
        drive(pilot, clock, frames, 5)
        last, good_time, clock.now = pilot.loop.gate.last[0], clock.now, shown
        np.testing.assert_allclose(pilot.act(frames()), last - 0.2, atol=1e-6)
        assert pilot.state == "SAFE_STOP" and pilot.reason is not None and pilot.reason.startswith("clock: the clock ")
        for _ in range(5):
            action = pilot.act(frames())
        assert not action.any()
        clock.now = shown if isinstance(shown, float) and shown < 0 else good_time + 1
        pilot.reset(GOAL)
        drive(pilot, clock, frames, 5)
        assert pilot.state == "FOLLOW"


@pytest.mark.parametrize(
    "goal", [None, "goal.png", [[1], [1, 2]], {"pixels": None}, {"pixels": BrokenArray()}, object()]
)
def test_a_goal_that_is_none_is_refused_by_name_and_changes_nothing(goal: Any) -> None:
    clock, frames = Clock(), Frames()
    with RealtimeController(Planner(), LIMITS, 10.0, QUIET, clock=clock) as pilot:
        pilot.reset(GOAL)
        drive(pilot, clock, frames)
        for call in (pilot.reset, pilot.set_goal):
            with pytest.raises(ValueError, match="goal: pixels"):
                call(goal)
        drive(pilot, clock, frames, 1)
        assert pilot.state == "FOLLOW"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"step_rate": 0.0}, "got 10 and 0"),
        ({"step_rate": math.nan}, "step_rate"),
        ({"clock": lambda: "noon"}, "clock"),
    ],
)
def test_what_cannot_be_is_said_at_the_start(options: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RealtimeController(Planner(), LIMITS, 10.0, QUIET, **options)


def test_a_reset_in_motion_keeps_the_largest_change() -> None:
    clock, planner, frames = Clock(), Planner(), Frames()
    with RealtimeController(planner, LIMITS, 10.0, QUIET, clock=clock) as pilot:
        pilot.reset(GOAL)
        drive(pilot, clock, frames, 6)
        planner.answer = lambda request: good(request, actions=-ROWS)
        sent = [pilot.loop.gate.last[0]]
        for _ in range(3):
            pilot.reset(GOAL)
            clock.now += 0.1
            sent.append(pilot.act(frames()))
            settle(pilot)
        assert np.abs(np.diff(sent, axis=0)).max() <= 0.2 + 1e-6 and float(sent[0][0]) == 0.5
        pilot.reset(GOAL, at_rest=True)
        assert not pilot.act(None).any()
