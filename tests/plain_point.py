"""A point in a square as a plain Gymnasium environment: reset, step, render and a flag of success, nothing else."""

from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np

TASK = "wmplan_tests/PlainPoint-v0"
SIZE = 32


class PlainPoint(gymnasium.Env[Any, Any]):
    """It is driven by its velocity to the corner (1, 1); the frame is dark but for the point.

    Where the point is, is none of its own attributes, but in an object of its engine.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.action_space = gymnasium.spaces.Box(np.float32([-1, -0.5]), np.float32([1, 0.5]))
        self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,))
        self.engine = SimpleNamespace(point=np.zeros(2))

    @property
    def point(self) -> Any:
        return self.engine.point

    @point.setter
    def point(self, point: Any) -> None:
        self.engine.point = point

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.point = self.np_random.uniform(-1, 0.5, 2)
        return self.point.astype(np.float32), {"is_success": False}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        self.point = np.clip(self.point + 0.2 * action, -1, 1)
        success = bool((self.point > 0.8).all())
        return self.point.astype(np.float32), float(success), success, False, {"is_success": success}

    def picture(self, point: Any) -> Any:
        frame = np.zeros((SIZE, SIZE, 3), np.uint8)
        row, column = np.round((point + 1) / 2 * (SIZE - 1)).astype(int)
        frame[row, column] = 255
        return frame

    def render(self) -> Any:
        return self.picture(self.point) if self.render_mode == "rgb_array" else None


class OpenPoint(PlainPoint):
    """The same with its point as an attribute, and more that a replay needs: a lag, a count, what may be None."""

    def __init__(self, render_mode: str | None = "rgb_array") -> None:
        super().__init__(render_mode)
        self.where = np.zeros(2)
        self.velocity, self.count, self.last, self.moved = np.zeros(2, np.float32), 0, None, False

    @property
    def point(self) -> Any:
        return self.where

    @point.setter
    def point(self, point: Any) -> None:
        self.where = point

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.velocity, self.count, self.last, self.moved = np.zeros(2, np.float32), 0, None, False
        return super().reset(seed=seed)

    def step(self, action: Any) -> Any:
        push = action if self.last is None else (action + self.last) / 2
        self.velocity = (self.velocity * np.float32(0.7) + 0.3 * push).astype(np.float32)
        self.count, self.last, self.moved = self.count + 1, np.array(action), True
        seen, _, _, _, info = super().step(np.clip(self.velocity, [-1, -0.5], [1, 0.5]).astype(np.float32))
        return seen, 0.0, False, self.count >= 40, info


class GoalPoint(PlainPoint):
    """The same with its goal's picture."""

    def goal_observation(self, size: Any = None) -> Any:
        from wmplan.gym.adapter import resized

        return {"pixels": resized(self.picture(np.ones(2)), size or (SIZE, SIZE)), "proprio": np.zeros(0, np.float32)}


class ShakyPoint(PlainPoint):
    """It starts where its seed does not say."""

    count = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        ShakyPoint.count += 1
        return super().reset(seed=ShakyPoint.count)


if TASK not in gymnasium.registry:
    gymnasium.register(TASK, entry_point=PlainPoint)
    gymnasium.register("wmplan_tests/OpenPoint-v0", entry_point=OpenPoint, max_episode_steps=40)
    gymnasium.register("wmplan_tests/GoalPoint-v0", entry_point=GoalPoint)
    gymnasium.register("wmplan_tests/ShakyPoint-v0", entry_point=ShakyPoint)
