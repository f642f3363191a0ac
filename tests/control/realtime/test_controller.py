"""The controller with its planning thread: it answers at once, loses no exception, and ends."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from wmplan.control.backend import PlanReply, PlanRequest
from wmplan.control.realtime.config import RealtimeConfig
from wmplan.control.realtime.controller import RealtimeController
from wmplan.control.safety.limits import Limits

LIMITS = Limits((-1.0, -1.0), (1.0, 1.0))
GOAL = {"pixels": np.zeros((4, 4, 3), np.uint8)}
PATIENT = 60.0  # seconds that a test waits for what has to come


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Script:
    """A planner that does what it is told, and only once `free` is set."""

    def __init__(self, plan: Callable[[PlanRequest], PlanReply] | None = None) -> None:
        self.free, self.asked = threading.Event(), threading.Event()
        self.free.set()
        self.calls: list[Any] = []
        self.threads: set[int] = set()
        self.reply = plan or (lambda request: PlanReply(np.full((20, 2), 0.5, np.float32), request.epoch, 1.0, 1.0))

    def set_goal(self, goal: Any) -> None:
        self.calls.append("goal")

    def reset(self, seed: int) -> None:
        self.calls.append(seed)

    def plan(self, request: PlanRequest) -> PlanReply:
        self.threads.add(threading.get_ident())
        self.calls.append(request)
        self.asked.set()
        assert self.free.wait(PATIENT)
        return self.reply(request)


def picture(number: int) -> dict[str, np.ndarray]:
    return {"pixels": np.full((4, 4, 3), number % 250, np.uint8)}


def settle(pilot: RealtimeController) -> None:
    """Wait until the planner has nothing to do."""
    with pilot._changed:
        assert pilot._changed.wait_for(lambda: not pilot.loop.awaits_plan, PATIENT)


def test_act_answers_while_the_planner_does_not_and_a_stop_ends_it() -> None:
    clock, script = Clock(), Script()
    script.free.clear()
    with RealtimeController(script, LIMITS, 10.0, clock=clock) as pilot:
        pilot.reset(GOAL, seed=4)
        for tick in range(10):  # would hang if it waited
            np.testing.assert_array_equal(pilot.act(picture(tick)), 0.0)
            clock.now += 0.1
        assert pilot.state == "HOLD" and script.asked.wait(PATIENT)
        script.free.set()
        settle(pilot)
        for tick in range(10, 13):  # the plan begins in one of these robot steps
            action = pilot.act(picture(tick))
            clock.now += 0.1
        np.testing.assert_allclose(action, 0.5)
        assert pilot.state == "FOLLOW" and script.calls[:2] == [4, "goal"]
    assert pilot.state == "SAFE_STOP" and not pilot._thread.is_alive()
    assert not pilot.act(picture(13)).any()
    assert len(script.threads) == 1 and threading.get_ident() not in script.threads
    with pytest.raises(RuntimeError, match="stopped"):
        pilot.reset(GOAL)


def test_the_newest_frame_is_planned_from_and_what_waited_is_not() -> None:
    clock, script = Clock(), Script()
    with RealtimeController(script, LIMITS, 10.0, clock=clock) as pilot:
        pilot.reset(GOAL)
        script.free.clear()
        for tick in range(8):
            pilot.act(picture(tick))
            if tick == 0:
                assert script.asked.wait(PATIENT)
            clock.now += 0.1
        script.free.set()
        settle(pilot)
    planned = [int(call.observation["pixels"][0, 0, 0]) for call in script.calls if isinstance(call, PlanRequest)]
    assert planned == [0, 7]


def test_it_can_wait_for_the_first_plan() -> None:
    clock, script = Clock(), Script()
    with RealtimeController(script, LIMITS, 10.0, RealtimeConfig(wait_first=True), clock=clock) as pilot:
        for seed in range(3):
            pilot.reset(GOAL, seed)
            np.testing.assert_allclose(pilot.act(picture(seed)), 0.5)
            assert pilot.state == "FOLLOW"


def test_waiting_for_the_first_plan_ends_with_a_failure() -> None:
    def broken(request: PlanRequest) -> PlanReply:
        raise ValueError("frames are too small")

    with RealtimeController(Script(broken), LIMITS, 10.0, RealtimeConfig(wait_first=True), clock=Clock()) as pilot:
        pilot.reset(GOAL)
        np.testing.assert_array_equal(pilot.act(picture(0)), 0.0)
        assert pilot.statistics.last_error == "ValueError: frames are too small" and pilot.state == "HOLD"
        np.testing.assert_array_equal(pilot.act(None), 0.0)  # nothing to wait for
        assert pilot.statistics.counter("rejected", "missing") == 1


def test_what_breaks_the_thread_itself_stops_the_robot_and_is_raised() -> None:
    def broken(request: PlanRequest) -> PlanReply:
        raise KeyboardInterrupt("not for an except Exception")

    pilot = RealtimeController(Script(broken), LIMITS, 10.0, clock=Clock())
    pilot.reset(GOAL)
    pilot.act(picture(0))
    pilot._thread.join(PATIENT)
    assert pilot.state == "SAFE_STOP" and pilot.reason == "planning_thread_ended"
    assert not pilot.act(picture(1)).any()
    with pytest.raises(RuntimeError, match="has ended"):
        pilot.reset(GOAL)
    with pytest.raises(KeyboardInterrupt):
        pilot.stop()


def test_a_goal_may_be_changed_from_another_thread_while_it_acts() -> None:
    clock, script = Clock(), Script()
    # The test's clock runs ahead of a planning thread that gets no turn.
    patient = RealtimeConfig(hold_seconds=1e6, first_seconds=1e6)
    with RealtimeController(script, LIMITS, 10.0, patient, clock=clock) as pilot:
        pilot.reset(GOAL)
        done = threading.Event()

        def change() -> None:
            for number in range(200):
                pilot.set_goal({"pixels": np.full((4, 4, 3), number % 250, np.uint8)})
                pilot.statistics.prometheus()
            done.set()

        thread = threading.Thread(target=change)
        thread.start()
        ticks = 0
        while not done.is_set() or ticks < 100:
            assert np.isfinite(pilot.act(picture(ticks))).all()
            clock.now += 0.1
            ticks += 1
        thread.join(PATIENT)
        pilot.act(picture(ticks))  # of the last goal: before it, no frame need have been
        settle(pilot)
        assert pilot.loop.epoch == 201 and pilot.statistics.last_error is None
        last = [call for call in script.calls if isinstance(call, PlanRequest)][-1]
        assert last.epoch == 201 and script.calls.count("goal") <= 201


def test_before_a_goal_it_says_so() -> None:
    with RealtimeController(Script(), LIMITS, 10.0, clock=Clock()) as pilot:
        with pytest.raises(RuntimeError, match="reset"):
            pilot.act(picture(0))
        with pytest.raises(RuntimeError, match="reset"):
            pilot.set_goal(GOAL)


def test_a_robots_process_needs_no_torch() -> None:
    code = """
import sys
for name in ("torch", "scipy", "mujoco", "gymnasium", "hydra", "h5py", "safetensors", "matplotlib"):
    sys.modules[name] = None
import numpy as np
import wmplan.control
from wmplan.control import Limits, LimitsGate, PlanReply, RealtimeConfig, RealtimeController, Statistics, Workspace
class Planner:
    def reset(self, seed): pass
    def set_goal(self, goal): pass
    def plan(self, request): return PlanReply(np.full((20, 2), 0.5, np.float32), request.epoch, 1.0, 1.0)
frame = np.zeros((4, 4, 3), np.uint8)
with RealtimeController(Planner(), Limits((-1.0, -1.0), (1.0, 1.0)), 10.0, RealtimeConfig(wait_first=True)) as pilot:
    pilot.reset({"pixels": frame})
    print(pilot.act({"pixels": frame}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == "[0.5 0.5]", done.stderr
