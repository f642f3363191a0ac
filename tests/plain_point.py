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
    gymnasium.register("wmplan_tests/GoalPoint-v0", entry_point=GoalPoint)
    gymnasium.register("wmplan_tests/ShakyPoint-v0", entry_point=ShakyPoint)
