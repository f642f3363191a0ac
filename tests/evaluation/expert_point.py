"""The point on a table with a target of its own, an expert that goes there, and starts that are sometimes at it."""

from typing import Any

import gymnasium
import numpy as np
from point_world import STEP, TOLERANCE, PointEnvironment

TASK = "expert_point:wmplan_tests/ExpertPoint-v0"


class ExpertPoint(PointEnvironment):
    """Full state: point and target. A quarter of the resets put the point at the target; one in eight experts idles."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        gymnasium.Env.reset(self, seed=seed)
        options = options or {}
        self.point, self.target = self.np_random.uniform(-0.6, 0.6, (2, 2))
        if self.np_random.random() < 0.25:
            self.point = self.target.copy()
        goal = np.tile(self.target, 2)
        for name, put in (("goal_state", self.set_goal), ("state", self.set_state)):
            state = options.get(name)
            put(goal if state is None and name == "goal_state" else self.get_state() if state is None else state)
        return self.observe(), {}

    def get_state(self) -> Any:
        return np.concatenate([self.point, self.target])

    def set_state(self, state: Any) -> None:
        self.point, self.target = np.split(np.array(state, float), 2)

    def set_goal(self, state: Any) -> None:
        self.goal = np.array(state, float)[:2]

    @property
    def succeeded(self) -> bool:
        return bool(np.linalg.norm(self.point - self.target) < TOLERANCE)

    def expert_policy(self, rng: Any) -> Any:
        idle = rng.random() < 0.125
        return lambda state: 0 * state if idle else np.clip((self.target - state) / STEP, -1, 1)


gymnasium.register("wmplan_tests/ExpertPoint-v0", ExpertPoint, max_episode_steps=40)
