"""The robot's body: takes commands at the control rate and moves in physics steps between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wmplan.environment import RobotEnvironment
from wmplan.evaluation.disturbances import with_dead_actuators
from wmplan.robot_sim.faults import FaultSchedule


class Body:
    """Drives the environment's physics. Times are seconds from the start of the episode.

    A new command is reached along a ramp: a commanded value linearly from the one before, a commanded change in
    equal shares.

    Args:
        period: seconds between two commands.
        ramp: seconds in which a new command is reached, cut to the period; 0 for at once.
        rng: of noise and of the directions of knocks.
    """

    def __init__(
        self,
        env: RobotEnvironment,
        period: float,
        ramp: float,
        faults: FaultSchedule,
        rng: np.random.Generator,
    ) -> None:
        self.env, self.faults, self.rng = env, faults, rng
        self.rate = env.control_rate * env.task.substeps
        """Physics steps a second."""
        self.low = np.asarray(env.task.action_low, np.float64)
        self.high = np.asarray(env.task.action_high, np.float64)
        self.ramp = max(1, round(min(ramp, period) * self.rate))
        self.share = period * env.control_rate  # of a robot step that one command is given for
        self.before = self.wanted = np.clip(np.zeros_like(self.low), self.low, self.high)
        self.since = 0
        self.knocks = sorted((one for one in faults.faults if one.kind == "knock"), key=lambda one: one.at)

    def command(self, action: NDArray[np.float32]) -> None:
        """Head for `action` (a,) from the next physics step on."""
        self.before, self.since = self._target(self.since - 1), 0
        self.wanted = np.asarray(action, np.float64)

    def step(self, moment: float) -> None:
        """One physics step, from `moment` on."""
        while self.knocks and self.knocks[0].at <= moment:
            self.env.perturb(self.knocks.pop(0).magnitude, self.rng)
        self.env.step_substeps(self._suffer(self._target(self.since), moment), 1)
        self.since += 1

    def _target(self, since: int) -> NDArray[np.float64]:
        """What is given to the environment `since` physics steps after the command."""
        if self.env.task.incremental:
            return self.wanted * (self.share / self.ramp if 0 <= since < self.ramp else 0.0)
        done = min((since + 1) / self.ramp, 1.0)
        return self.before + done * (self.wanted - self.before)

    def _suffer(self, action: NDArray[np.float64], moment: float) -> NDArray[np.float64]:
        noise = self.faults.size("action_noise", moment)
        if noise is not None:
            share = 1.0 / self.env.task.substeps if self.env.task.incremental else 1.0
            action = action + self.rng.normal(0, noise * share, action.shape) * (self.high - self.low) / 2
        failed = [int(one) for one in self.faults.sizes("actuator_failed", moment) if one < len(action)]
        return np.clip(with_dead_actuators(action, failed), self.low, self.high)
