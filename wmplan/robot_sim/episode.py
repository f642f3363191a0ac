"""One episode of the robot: physics, camera and control loop, each at its own rate, on one thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wmplan.environment import RobotEnvironment, has
from wmplan.evaluation.success import success_now
from wmplan.robot_sim.body import Body
from wmplan.robot_sim.camera import Camera
from wmplan.robot_sim.clock import Clock
from wmplan.robot_sim.faults import FaultSchedule
from wmplan.robot_sim.film import Shot

ROUNDING = 1e-6  # of an action's range: what float32 may add without being beyond a bound


class Driver(Protocol):
    """What drives the robot: RealtimeController, or a SimulatedController."""

    @property
    def state(self) -> str:
        """FOLLOW, HOLD or SAFE_STOP."""

    def act(self, observation: Mapping[str, NDArray[Any]], captured_at: float | None = None) -> NDArray[np.float32]:
        """The action (a,) to send now."""


@dataclass(eq=False)
class Episode:
    """What happened. Times are seconds from the start of the episode.

    Attributes:
        goal: task state of the goal, of shape (D,).
        states: task states at the start and after every robot step, rows of shape (D,).
        succeeded: what the environment itself said of success at these times; empty where it says nothing.
        actions: what the controller sent at each tick, rows of shape (a,).
        ticks: when it was called.
        busy: for how long each of these calls took.
        ages: of the frame that each acted on.
        modes: the controller's state after each.
        out_of_limits: ticks whose action was beyond the robot's bounds or not finite.
        shots: for the film.
    """

    goal: NDArray[np.float64]
    states: list[NDArray[np.float64]] = field(default_factory=list)
    succeeded: list[bool] = field(default_factory=list)
    actions: list[NDArray[np.float32]] = field(default_factory=list)
    ticks: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)
    modes: list[str] = field(default_factory=list)
    out_of_limits: int = 0
    shots: list[Shot] = field(default_factory=list)

    def time_in(self) -> dict[str, float]:
        """The share of the ticks in each state."""
        return {mode: count / len(self.modes) for mode, count in Counter(self.modes).items()}

    def changes(self) -> list[tuple[float, str]]:
        """When the state changed, and to what; it begins in FOLLOW."""
        before = ["FOLLOW", *self.modes]
        return [(at, mode) for at, mode, last in zip(self.ticks, self.modes, before, strict=False) if mode != last]

    def rate(self) -> float | None:
        """Ticks a second; None of fewer than two."""
        return (len(self.ticks) - 1) / (self.ticks[-1] - self.ticks[0]) if len(self.ticks) > 1 else None


def run_episode(
    env: RobotEnvironment,
    driver: Driver,
    camera: Camera,
    body: Body,
    clock: Clock,
    faults: FaultSchedule,
    *,
    rate: float,
    seconds: float,
    started: Callable[[float], None] = lambda origin: None,
    figures: Callable[[], dict[str, str]] | None = None,
) -> Episode:
    """Let the controller drive the robot from where the environment stands.

    The first action is asked for before time starts to count, so that a controller which waits for its first plan
    does so while everything is at rest. After that nothing waits: if planning or this thread is late, the physics is
    not. Physics that fell behind the clock catches up as fast as it can.

    Args:
        rate: control ticks a second.
        seconds: length of the episode.
        started: called with the clock's time at which the episode starts, before it does.
        figures: gives what the film is to tell, at every picture; None for no film.
    """
    substeps, physics_rate = env.task.substeps, body.rate
    episode = Episode(goal=np.array(env.goal))
    reached = False

    frame = camera.newest(0.0)
    first: NDArray[np.float32] | None = driver.act(frame.observation, captured_at=clock() + frame.captured)
    origin = clock()
    started(origin)
    tick, last = 0, round(seconds * physics_rate)
    for step in range(last + 1):
        moment = step / physics_rate
        clock.sleep_until(origin + moment)
        camera.look(moment)
        if step % substeps == 0:
            state = env.task_state()
            episode.states.append(state)
            if has(env, "success"):
                episode.succeeded.append(bool(env.succeeded))  # type: ignore[attr-defined]  # asked for
            reached = reached or (step > 0 and success_now(env))
        if step < last and tick / rate <= moment + 1e-9:
            tick += 1
            now = clock() - origin
            frame = camera.newest(now)
            if first is None:
                action = driver.act(frame.observation, captured_at=origin + frame.captured)
            else:
                action, first = first, None
            episode.busy.append(clock() - origin - now)
            episode.ticks.append(now)
            episode.ages.append(now - frame.captured)
            episode.actions.append(action)
            episode.modes.append(str(driver.state))
            slack = ROUNDING * (body.high - body.low)
            within = np.isfinite(action).all() and (body.low - slack <= action).all()
            episode.out_of_limits += not (within and (action <= body.high + slack).all())
            body.command(action)
        if figures is not None and step % substeps == 0:
            seen = frame.observation["pixels"]
            names = faults.names(moment)
            mode = episode.modes[-1]
            shot = Shot(moment, env.get_state(), seen, episode.actions[-1], mode, figures(), names, reached)
            episode.shots.append(shot)
        if step < last:
            body.step(moment)
    camera.close()
    return episode
