"""gym-pusht: Push-T of LeRobot and Diffusion Policy's authors, whose goal is always the same."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.environment import Array
from wmplan.envs.suites.packages import GYM_PUSHT
from wmplan.envs.suites.pymunk_pusht import REACH, SIDE, PymunkPushT, PymunkPushTTask
from wmplan.registry import register_task

COVERED = 0.95  # share of the goal's T that has to be covered, the suite's own
AWAY = np.array([-1000.0, -1000.0, 0.0])  # a goal that is not in the picture
CORNER = np.array([100.0, 100.0])  # where the disc is when the suite's own goal is reached


class GymPushTTask(PymunkPushTTask):
    """Action: from the disc to the target that it is drawn to, in pixels.

    The suite's own action is the target itself; its distance from the disc is what DINO-WM and stable-worldmodel act
    with, and with it zeros do nothing.
    """

    action_names = ("target_dx_px", "target_dy_px")
    action_low, action_high = np.full(2, -REACH), np.full(2, REACH)


@register_task("gym_pusht", id="wmplan.envs:wmplan/GymPushT-v0", suite=GYM_PUSHT, max_episode_steps=300)
class GymPushT(PymunkPushT):
    """Push-T, 10 robot steps a second. The suite's success: the T covers 95 % of its goal, which is always the same.

    Frames do not show the suite's own goal, which it draws into all of them.
    """

    suite = GYM_PUSHT
    task = GymPushTTask()
    goal_size = 3

    def __init__(self, image_size: Any = 64, render_mode: str | None = "rgb_array") -> None:
        self.suite.require()
        super().__init__(image_size, render_mode)
        self.inner = importlib.import_module("gym_pusht.envs.pusht").PushTEnv(obs_type="state")
        self.inner.reset(seed=0)
        self.started()

    def start(self, rng: np.random.Generator) -> None:
        self.inner.reset(seed=int(rng.integers(2**31)))
        self.started()

    def read_own_goal(self) -> Array:
        return np.array(self.inner.goal_pose, np.float64)

    def advance(self, action: Array) -> None:
        self.inner.step(np.clip(self._state[:2] + action, 0, SIDE))
        self.keep()

    def make_space(self, state: Array) -> None:
        super().make_space(state)
        self.inner.goal_pose = self._own_goal

    @property
    def succeeded(self) -> bool:
        return bool(self.inner._get_coverage() > COVERED)

    def reach_own_goal(self) -> None:
        self.rest_at(CORNER, self._own_goal[:2], float(self._own_goal[2]))

    def with_other_goal(self, state: Array) -> Array:
        return np.append(state[:10], state[10:] + [20.0, 10.0, 1.0])

    def render(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:  # type: ignore[override]
        height, width = size or self.image_size
        self.inner.goal_pose = AWAY
        frame: NDArray[np.uint8] = self.inner._get_img(self.inner._draw(), width, height)
        self.inner.goal_pose = self._own_goal
        return frame
