"""Push-T as pymunk simulates it: a disc pushes a T over a table, in pixels of a picture of 512 x 512."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from wmplan.environment import Array, Policy
from wmplan.envs.pusht import PushExploration
from wmplan.envs.suites.environment import SuiteEnvironment, SuiteTask, checked_state
from wmplan.envs.task import wrap_angle

TOLERANCE, TURN = 20.0, np.pi / 9  # pixels and radians, of Diffusion Policy's successors: DINO-WM, LeWM, jepa-wms
DIGITS = 9  # of a state, in pixels and radians
SIDE = 512.0
REACH = 100.0  # pixels from the disc that a target may be
LAG = 0.25  # seconds of motion that the target is ahead of a disc that follows it
INNER = 0.17  # metres from the table's middle; a block that is pushed on from there leaves the picture
MOTION = 10  # numbers of a full state that are about disc and block; the suite's own goal follows


class PymunkPushTTask(SuiteTask):
    """Task state: disc, block and its turn. Action: from the disc to the target that it is drawn to."""

    proprio_names = ("disc_x_px", "disc_y_px")
    state_names = (*proprio_names, "block_x_px", "block_y_px", "block_angle_rad")

    def rules(self, state: Array, goal: Array) -> dict[str, NDArray[np.bool_]]:
        """Disc and block together within 20 pixels, and 20 degrees, as the papers have it; or the block alone."""
        offset = state[..., :4] - goal[..., :4]
        turned = np.abs(wrap_angle(state[..., 4] - goal[..., 4])) < TURN
        together = np.linalg.norm(offset, axis=-1) < TOLERANCE
        return {"public": together & turned, "block": (np.linalg.norm(offset[..., 2:], axis=-1) < TOLERANCE) & turned}

    def distance(self, state: Array, goal: Array) -> Array:
        offset = np.linalg.norm(state[..., :4] - goal[..., :4], axis=-1) / TOLERANCE
        return np.hypot(offset, wrap_angle(state[..., 4] - goal[..., 4]) / TURN)

    def may_be_goal(self, state: Array) -> NDArray[np.bool_]:
        """The disc leaves the table as it likes; no picture shows it there."""
        return np.all((state[..., :2] >= 0) & (state[..., :2] <= SIDE), axis=-1)

    def progress(self, start: Array, goal: Array) -> NDArray[np.bool_]:
        return ~self.rules(start, goal)["block"]


class TablePush(PushExploration):
    """Exploration that pushes no block off the table, which here has no rim that would hold it."""

    def velocity(self, pusher: Array, block: Array) -> Array:
        """The mode's velocity, before noise; a push that would go on outwards ends."""
        velocity = super().velocity(pusher, block)
        if self.mode == "push" and np.any((np.abs(block) > INNER) & (block * velocity > 0)):
            self.steps_left = 0
            return np.zeros(2)
        return velocity


class PymunkPushT(SuiteEnvironment):
    """Push-T, 10 robot steps a second; a suite's class gives `inner`, its environment, and its own goal.

    pymunk keeps contacts from step to step that cannot be read, so that a state cannot be restored to the bit. Here
    every robot step begins with a new space, made of a state with 9 decimals: exact, and not quite the published
    physics (see docs/suites.md).
    """

    control_rate = 10.0
    inner: Any
    goal_size: ClassVar[int]
    """Numbers of the suite's own goal."""

    @abstractmethod
    def read_own_goal(self) -> Array:
        """The suite's own goal (goal_size,), as its reset has set it."""

    def started(self) -> None:
        """Take over what the suite's reset has made."""
        self._own_goal = self.read_own_goal()
        self.keep()

    def keep(self) -> None:
        """Read the state, and go on from it in a new space."""
        disc, block = self.inner.agent, self.inner.block
        numbers = [*disc.position, *disc.velocity, *block.position, *block.velocity, block.angle]
        self.make_space(np.round([*numbers, block.angular_velocity], DIGITS))

    def make_space(self, state: Array) -> None:
        """A new space with disc and block as a state (10,) has them."""
        self.inner._setup()
        disc, block = self.inner.agent, self.inner.block
        disc.position, disc.velocity = tuple(state[0:2]), tuple(state[2:4])
        block.angle = float(state[8])  # before the position, which is of the middle of mass
        block.position, block.velocity, block.angular_velocity = tuple(state[4:6]), tuple(state[6:8]), float(state[9])
        self.inner.space.reindex_shapes_for_body(disc)
        self.inner.space.reindex_shapes_for_body(block)
        self.inner.n_contact_points = 0
        self._state = state

    def rest_at(self, disc: Array, block: Array, angle: float) -> None:
        """Put disc (2,) and block (2,) somewhere, at rest."""
        rest = np.zeros(2)
        self.make_space(np.concatenate([disc, rest, block, rest, [angle, 0.0]]))

    def task_state(self) -> Array:
        return np.array([*self._state[:2], *self._state[4:6], wrap_angle(self._state[8])])

    def get_state(self) -> Array:
        return np.concatenate([self._state, self._own_goal])

    def set_state(self, state: Array) -> None:
        state = checked_state(state, MOTION + self.goal_size)
        self._own_goal = state[MOTION:].copy()
        self.make_space(state[:MOTION].copy())

    def exploration_policy(self, rng: np.random.Generator) -> Policy:
        """That of the task pusht, whose table is as large: approaches, pushes through, leaves, wanders, pauses."""
        policy, high = TablePush(rng, speed=0.2), self.task.action_high

        def act(state: Array) -> Array:
            metres = np.append((state[:4] - SIDE / 2) / 1000, state[4])
            return np.clip(LAG * 1000 / REACH * policy(metres), -1, 1) * high

        return act
