"""500 random schedules of faults in simulated time: no action out of limits, and each fault ends as documented."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from wmplan.control.realtime.config import RealtimeConfig
from wmplan.control.safety.limits import Limits
from wmplan.control.safety.workspace import Workspace

SCHEDULES, TICKS, CALM = 500, 90, 45
GAIN = 0.1
FAULTS = (
    "none",
    "slow",
    "lost",
    "raises",
    "nan",
    "infinite",
    "short",
    "stale",
    "frozen",
    "bad",
    "missing",
    "estop",
    "gap",
)
ROUNDING = 1e-5


def random_limits(rng: np.random.Generator, estop: Any) -> Limits:
    """Limits of every kind, on and off."""
    some = rng.random(3) < 0.6
    return Limits(
        low=(-1.0, -0.5),
        high=(1.0, 0.8),
        max_change=tuple(rng.uniform(0.05, 0.8, 2)) if some[0] else None,
        max_acceleration=tuple(rng.uniform(0.05, 0.5, 2)) if some[1] else None,
        workspace=Workspace((-0.4, -0.3), (0.5, 0.3), (0, 1), (0, 1), GAIN) if some[2] else None,
        on_violation="stop" if rng.random() < 0.1 else "clip",
        estop=estop,
    )


class Scene:
    """One schedule: spans of ticks with a fault each, then calm; and the robot, which goes where it is sent."""

    def __init__(self, seed: int, simulate: Any, answer: Any) -> None:
        self.rng = np.random.default_rng(seed)
        self.answer, self.position, self.pressed_at = answer, np.zeros(2), None  # type: Any, Any, int | None
        self.faults = ["none"] * TICKS
        for _ in range(self.rng.integers(1, 5)):
            begin, length = int(self.rng.integers(5, TICKS - CALM)), int(self.rng.integers(1, 30))
            kind = FAULTS[self.rng.integers(len(FAULTS))]
            self.faults[begin : begin + length] = [kind] * (min(begin + length, TICKS - CALM) - begin)
        self.faults = (self.faults + ["none"] * TICKS)[:TICKS]
        self.faults[TICKS - CALM :] = ["none"] * CALM
        self.config = RealtimeConfig(
            replan_every=int(self.rng.choice([1, 1, 2, 5])),
            compensation=bool(self.rng.random() < 0.8),
            max_repeats=4,
            hold_seconds=float(self.rng.choice([0.5, 1.0, 2.0])),
            first_seconds=3.0,
            warmup=int(self.rng.integers(0, 2)),
            log_seconds=None,
        )
        self.limits = random_limits(self.rng, lambda: self.fault == "estop")
        self.tick = 0
        self.wild = self.rng.random() < 0.5  # plans that care for no limit
        # A short plan would end before it may be replaced.
        self.sim = simulate(
            self.limits, self.config, answer=self.reply, length=int(self.rng.integers(10, 26)), actions=self.action
        )

    @property
    def fault(self) -> str:
        return self.faults[self.tick]

    def action(self, step: int, plan: int) -> list[float]:
        scale = 5.0 if self.wild else 0.7
        return list(scale * np.sin(0.7 * step + plan + np.array([0.0, 1.0])))

    def reply(self, now: float) -> Any:
        usual = self.rng.uniform(0.01, 0.12)
        if self.fault == "slow":
            return self.answer(self.rng.uniform(0.3, 1.0))
        if self.fault == "lost":  # a call that is given up after a second
            return self.answer(1.0, TimeoutError("no reply"))
        if self.fault == "raises":
            return self.answer(usual, RuntimeError("the planner broke"))
        spoilt = {
            "nan": lambda reply: replace(
                reply, actions=np.where(self.rng.random(reply.actions.shape) < 0.2, np.nan, 1.0)
            ),
            "infinite": lambda reply: replace(reply, cost=float("inf")),
            "short": lambda reply: replace(reply, actions=reply.actions[:0]),
        }
        return self.answer(usual, None, spoilt.get(self.fault, lambda reply: reply))

    def observe(self) -> dict[str, Any]:
        """The arguments of the next tick, and of a robot that stands at self.position."""
        observation: Any = {**self.sim.picture(), "proprio": self.position.astype(np.float32)}
        age = 0.0
        if self.fault == "stale":
            age = 0.8
        elif self.fault == "frozen":
            observation = {**self.sim.picture(1), "proprio": observation["proprio"]}
        elif self.fault == "missing":
            observation = None
        elif self.fault == "bad":
            wrong = [
                ("pixels", np.zeros((4, 4), np.uint8)),
                ("pixels", np.zeros((4, 4, 3))),
                ("proprio", np.full(2, np.nan)),
            ]
            name, value = wrong[self.rng.integers(3)]
            observation[name] = value
        after = 0.1 * int(self.rng.integers(2, 15)) if self.fault == "gap" and self.rng.random() < 0.2 else 0.1
        return {"observation": observation, "age": age, "after": after}


def check_action(scene: Scene, before: np.ndarray, change: np.ndarray, action: np.ndarray) -> None:
    """One action against the limits, written out anew."""
    limits, low, high = scene.limits, np.float32(scene.limits.low), np.float32(scene.limits.high)
    assert np.isfinite(action).all() and action.dtype == np.float32
    assert (action >= low).all() and (action <= high).all()
    now = action.astype(np.float64) - before
    if limits.max_change is not None:
        assert (np.abs(now) <= np.array(limits.max_change) + ROUNDING).all(), "max_change"
    if limits.max_acceleration is not None:
        assert (np.abs(now - change) <= np.array(limits.max_acceleration) + ROUNDING).all(), "max_acceleration"


def check_state(scene: Scene, state: str, step: int) -> None:
    """FOLLOW where a plan that was there has an action for this robot step, and only there."""
    if not scene.config.compensation:
        return  # then a plan begins whenever it arrives
    plans = [(begin, end, at) for begin, end, at, _ in scene.sim.plans if at <= scene.sim.now]
    if state == "HOLD":
        assert not any(begin <= step < end and at < scene.sim.now for begin, end, at in plans), "it held for no reason"
    if state == "FOLLOW":  # a plan for a robot still at rest may begin later than it was made for
        ends = [max(end, round(at * 10) + 1 + scene.sim.length) for _, end, at in plans]
        assert any(step < end for end in ends), "it follows what no plan says"


def play(seed: int, simulate: Any, answer: Any) -> set[str]:
    scene = Scene(seed, simulate, answer)
    sim = scene.sim
    sim.reset()
    before, change, held_since, stopped = np.zeros(2), np.zeros(2), None, False
    for scene.tick in range(TICKS):
        arguments = scene.observe()
        # In ticks that were left out the robot goes on, but a workspace is given what is true now.
        skipped = round(arguments["after"] / 0.1) - 1
        scene.position = scene.position + skipped * GAIN * before
        if skipped and arguments["observation"] is not None and scene.fault != "bad":
            arguments["observation"]["proprio"] = scene.position.astype(np.float32)
        inside_before = scene.limits.workspace is None or not scene.limits.workspace.outside(scene.position[None]).any()
        action = sim.tick(**arguments)
        check_action(scene, before, change, action)
        change, before = action - before, action.astype(np.float64)
        scene.position = scene.position + GAIN * action
        if scene.limits.workspace is not None and "gap" not in scene.faults and inside_before:
            assert scene.limits.workspace.outside(scene.position[None]).max() <= 1e-4, "workspace"

        state, step = sim.states[-1], sim.loop.timeline.next - 1
        if scene.fault == "estop":
            stopped = True
        if stopped:
            assert state == "SAFE_STOP", "the e-stop did not stop at once, or did not latch"
        check_state(scene, state, step)
        if state == "HOLD":
            held_since = sim.now if held_since is None else held_since
            patience = scene.config.hold_seconds if sim.loop.has_plan else scene.config.first_seconds
            assert sim.now - held_since < patience + 1e-6, "it held for longer than it may"
        else:
            held_since = None
        if state == "SAFE_STOP":
            stopped = True
    # After the faults: on, or stopped for good, and at rest then.
    assert sim.states[-1] in ("FOLLOW", "SAFE_STOP"), "it did not go on"
    if sim.states[-1] == "SAFE_STOP":
        assert np.abs(before).max() < 1e-6, "it is not at rest"
    for request, _, _ in sim.requests:
        frame = request.observation["pixels"]
        assert frame.shape == (4, 4, 3) and frame.dtype == np.uint8
        assert np.isfinite(request.observation["proprio"]).all()
        assert np.isfinite(request.executed).all() and np.isfinite(request.committed).all()
    return set(sim.states)


@pytest.mark.parametrize("part", range(10))
def test_random_fault_schedules(simulate: Any, answer: Any, part: int) -> None:
    seen: set[str] = set()
    for seed in range(part * SCHEDULES // 10, (part + 1) * SCHEDULES // 10):
        try:
            seen |= play(seed, simulate, answer)
        except Exception as error:
            raise AssertionError(f"fault schedule of seed {seed}: {type(error).__name__}: {error}") from error
    assert seen == {"FOLLOW", "HOLD", "SAFE_STOP"}  # the schedules do what they are for
