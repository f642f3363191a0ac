"""A point that is driven by its velocity, drawn as two bytes: a robot whose every state can be said in advance."""

from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np

TASK = "wmplan_tests/PointRobot-v0"
SUBSTEPS, TIMESTEP = 10, 0.01
REACH = 1.0  # of an action, m/s


class PointTask:
    state_names = ("point_x_m", "point_y_m")
    proprio_names = ("point_x_m", "point_y_m")
    action_names = ("vx", "vy")
    action_low, action_high = np.array([-REACH, -REACH]), np.array([REACH, REACH])
    substeps, incremental = SUBSTEPS, False

    def proprio(self, state: Any) -> Any:
        return state

    def distance(self, state: Any, goal: Any) -> Any:
        return np.linalg.norm(state - goal, axis=-1) / 0.05

    def rules(self, state: Any, goal: Any) -> dict[str, Any]:
        return {"near": self.distance(state, goal) < 1, "nearer": self.distance(state, goal) < 0.5}

    def progress(self, start: Any, goal: Any) -> Any:
        return self.distance(start, goal) > 4


class PointRobot(gymnasium.Env[Any, Any]):
    """The picture's left half is x, its right half y, 16 bits each in red and green; a bump is told in blue."""

    control_rate = 1 / (SUBSTEPS * TIMESTEP)

    def __init__(self, image_size: Any = (8, 8)) -> None:
        self.image_size, self.task = tuple(image_size), PointTask()
        self.variation = SimpleNamespace(factors={}, apply=self.vary)
        self.action_space = gymnasium.spaces.Box(-REACH, REACH, (2,))
        self.observation_space = gymnasium.spaces.Dict({"pixels": gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8)})
        self.point, self.goal, self.drift = np.zeros(2), np.zeros(2), np.zeros(2)
        self.given: list[Any] = []  # what advance_part() was given, one a physics step

    def vary(self, factors: Any) -> None:
        self.variation.factors = dict(factors)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        options = options or {}
        start, goal = options.get("state"), options.get("goal_state")
        self.goal = self.np_random.uniform(-0.6, 0.6, 2) if goal is None else np.array(goal, float)
        self.point = self.np_random.uniform(-0.6, 0.6, 2) if start is None else np.array(start, float)
        self.drift, self.given = np.zeros(2), []
        self.vary({})
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        self.step_physics(action)
        return self.observe(), 0.0, False, False, {}

    def step_physics(self, action: Any) -> None:
        self.step_substeps(action, SUBSTEPS)

    def step_substeps(self, action: Any, substeps: int) -> None:
        for _ in range(substeps):
            self.given.append(np.array(action, float))
            self.point = self.point + TIMESTEP * (np.clip(np.asarray(action, float), -REACH, REACH) + self.drift)
            self.drift = 0.9 * self.drift

    def perturb(self, speed: float, rng: Any) -> None:
        direction = rng.normal(size=2)
        self.drift = self.drift + speed * direction / np.linalg.norm(direction)

    def simulate(self, actions: Any) -> Any:
        return self.point + SUBSTEPS * TIMESTEP * np.cumsum(np.clip(actions, -REACH, REACH), axis=1)

    def picture(self, point: Any, size: Any) -> Any:
        image = np.zeros((*size, 3), np.uint8)
        whole = np.clip(np.round((point + 4) * 8192), 0, 65535).astype(int)
        bump = 200 if self.variation.factors.get("camera_position_m") else 0
        for half, value in zip((np.s_[:, : size[1] // 2], np.s_[:, size[1] // 2 :]), whole, strict=True):
            image[half] = (value >> 8, value & 255, bump)
        return image

    def render(self, size: Any = None) -> Any:
        return self.picture(self.point, size or self.image_size)

    def observe(self) -> Any:
        return {"pixels": self.render(), "proprio": self.point.astype(np.float32)}

    def goal_observation(self, size: Any = None) -> Any:
        return {"pixels": self.picture(self.goal, size or self.image_size), "proprio": self.goal.astype(np.float32)}

    def get_state(self) -> Any:
        return self.point.copy()

    def set_state(self, state: Any) -> None:
        self.point = np.array(state, float)

    def task_state(self) -> Any:
        return self.point.copy()

    def set_goal(self, state: Any) -> None:
        self.goal = np.array(state, float)

    def exploration_policy(self, rng: Any) -> Any:
        heading = rng.uniform(-0.3, 0.3, 2)  # never farther than a picture can tell, 4 m
        return lambda state: np.clip(heading + rng.normal(0, 0.1, 2), -1, 1)


def place(pixels: Any) -> Any:
    """Where the point is, read off its picture, to 1/16384 m."""
    corners = pixels[0, [0, -1]].astype(float)
    return (corners[:, 0] * 256 + corners[:, 1]) / 8192 - 4


if TASK not in gymnasium.registry:
    gymnasium.register(TASK, entry_point=PointRobot)
