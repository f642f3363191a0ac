"""gym-pusht: a disc pushes a T over a table, in pixels of a picture of 512 x 512."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.environment import Array, Policy
from wmplan.envs.pusht import PushExploration
from wmplan.envs.suites.environment import SuiteEnvironment, SuiteTask
from wmplan.envs.suites.packages import GYM_PUSHT
from wmplan.envs.task import wrap_angle
from wmplan.errors import UserError
from wmplan.registry import register_task

TOLERANCE, TURN = 20.0, np.pi / 9  # pixels and radians, of Diffusion Policy's successors: DINO-WM, LeWM, jepa-wms
COVERED = 0.95  # share of the goal's T that has to be covered, the suite's own
DIGITS = 9  # of a state, in pixels and radians
SIDE = 512.0
REACH = 100.0  # pixels from the disc that a target may be
AWAY = np.array([-1000.0, -1000.0, 0.0])  # a goal that is not in the picture
CORNER = np.array([100.0, 100.0])  # where the disc is when the suite's own goal is reached
LAG = 0.25  # seconds of motion that the target is ahead of a disc that follows it


class GymPushTTask(SuiteTask):
    """Task state: disc, block and its turn. Action: from the disc to the target that it is drawn to, in pixels.

    The suite's own action is the target itself; its distance from the disc is what DINO-WM and stable-worldmodel act
    with, and with it zeros do nothing.
    """

    action_names = ("target_dx_px", "target_dy_px")
    action_low, action_high = np.full(2, -REACH), np.full(2, REACH)
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

    def progress(self, start: Array, goal: Array) -> NDArray[np.bool_]:
        return ~self.rules(start, goal)["block"]


@register_task("gym_pusht", id="wmplan.envs:wmplan/GymPushT-v0", suite=GYM_PUSHT, max_episode_steps=300)
class GymPushT(SuiteEnvironment):
    """Push-T, 10 robot steps a second. The suite's success: the T covers 95 % of its goal, which is always the same.

    pymunk keeps contacts from step to step that cannot be read, so that a state cannot be restored to the bit. Here
    every robot step begins with a new space, made of a state with 9 decimals: exact, and not quite the published
    physics (see docs/suites.md). Frames do not show the suite's own goal, which it draws into all of them.
    """

    suite = GYM_PUSHT
    task = GymPushTTask()
    control_rate = 10.0

    def __init__(self, image_size: Any = 64, render_mode: str | None = "rgb_array") -> None:
        self.suite.require()
        super().__init__(image_size, render_mode)
        self.inner: Any = importlib.import_module("gym_pusht.envs.pusht").PushTEnv(obs_type="state")
        self.inner.reset(seed=0)
        self._own_goal = np.array(self.inner.goal_pose, np.float64)
        self._keep()

    def start(self, rng: np.random.Generator) -> None:
        self.inner.reset(seed=int(rng.integers(2**31)))
        self._own_goal = np.array(self.inner.goal_pose, np.float64)
        self._keep()

    def advance(self, action: Array) -> None:
        self.inner.step(np.clip(self._state[:2] + action, 0, SIDE))
        self._keep()

    def _keep(self) -> None:
        """Read the state, and go on from it in a new space."""
        disc, block = self.inner.agent, self.inner.block
        numbers = [*disc.position, *disc.velocity, *block.position, *block.velocity, block.angle]
        self._make(np.round([*numbers, block.angular_velocity], DIGITS))

    def _make(self, state: Array) -> None:
        self.inner._setup()
        disc, block = self.inner.agent, self.inner.block
        disc.position, disc.velocity = tuple(state[0:2]), tuple(state[2:4])
        block.angle = float(state[8])  # before the position, which is of the middle of mass
        block.position, block.velocity, block.angular_velocity = tuple(state[4:6]), tuple(state[6:8]), float(state[9])
        self.inner.space.reindex_shapes_for_body(disc)
        self.inner.space.reindex_shapes_for_body(block)
        self.inner.goal_pose, self.inner.n_contact_points = self._own_goal, 0
        self._state = state

    def task_state(self) -> Array:
        return np.array([*self._state[:2], *self._state[4:6], wrap_angle(self._state[8])])

    @property
    def succeeded(self) -> bool:
        return bool(self.inner._get_coverage() > COVERED)

    def reach_own_goal(self) -> None:
        rest = np.zeros(2)
        self._make(np.concatenate([CORNER, rest, self._own_goal[:2], rest, self._own_goal[2:], [0.0]]))

    def with_other_goal(self, state: Array) -> Array:
        return np.append(state[:10], state[10:] + [20.0, 10.0, 1.0])

    def get_state(self) -> Array:
        return np.concatenate([self._state, self._own_goal])

    def set_state(self, state: Array) -> None:
        state = np.asarray(state, np.float64)
        if state.shape != (13,):
            raise UserError(
                f"a full state of this task has 13 numbers, the one given has {state.size}: it is of another task, or "
                "of other versions of the suite"
            )
        self._own_goal = state[10:].copy()
        self._make(state[:10].copy())

    def render(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:  # type: ignore[override]
        height, width = size or self.image_size
        self.inner.goal_pose = AWAY
        frame: NDArray[np.uint8] = self.inner._get_img(self.inner._draw(), width, height)
        self.inner.goal_pose = self._own_goal
        return frame

    def exploration_policy(self, rng: np.random.Generator) -> Policy:
        """That of the task pusht, whose table is as large: approaches, pushes through, leaves, wanders, pauses."""
        policy = PushExploration(rng, speed=0.2)

        def act(state: Array) -> Array:
            metres = np.append((state[:4] - SIDE / 2) / 1000, state[4])
            return np.clip(LAG * 1000 * policy(metres), -REACH, REACH)

        return act
