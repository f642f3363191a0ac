"""A point on a table with exactly known dynamics and pictures, and world models of it with one known fault."""

from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from wmplan.models.base import ModelSpec, WorldModel

STEP, TOLERANCE, BLOCK = 0.02, 0.05, 5
TASK = "wmplan_tests/Point-v0"
SPEC = ModelSpec(
    image_size=(8, 8),
    history=1,
    action_block=BLOCK,
    action_low=(-1.0, -1.0),
    action_high=(1.0, 1.0),
    action_mean=(0.0, 0.0),
    action_std=(0.6, 0.6),
    latent_shape=(4,),
)


class PointTask:
    state_names = ("point_x_m", "point_y_m")
    proprio_names: tuple[str, ...] = ()
    action_names = ("vx", "vy")
    action_low, action_high = np.array([-1.0, -1.0]), np.array([1.0, 1.0])

    def proprio(self, state: Any) -> Any:
        return state[..., :0]

    def distance(self, state: Any, goal: Any) -> Any:
        return np.linalg.norm(state - goal, axis=-1) / TOLERANCE

    def rules(self, state: Any, goal: Any) -> dict[str, Any]:
        return {"near": self.distance(state, goal) < 1}

    def progress(self, start: Any, goal: Any) -> Any:
        return self.distance(start, goal) > 4


class PointEnvironment(gymnasium.Env[Any, Any]):
    """The picture's left half is x, its right half y, 16 bits each in red and green."""

    control_rate = 10.0

    def __init__(self, image_size: Any = (8, 8)) -> None:
        self.image_size, self.task = tuple(image_size), PointTask()
        self.variation = SimpleNamespace(factors={})
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,))
        self.observation_space = gymnasium.spaces.Dict({"pixels": gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8)})
        self.point, self.goal = np.zeros(2), np.zeros(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        options = options or {}
        start, goal = options.get("state"), options.get("goal_state")
        self.goal = self.np_random.uniform(-0.6, 0.6, 2) if goal is None else np.array(goal, float)
        self.point = self.np_random.uniform(-0.6, 0.6, 2) if start is None else np.array(start, float)
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        self.step_physics(action)
        return self.observe(), 0.0, False, False, {}

    def step_physics(self, action: Any) -> None:
        self.point = self.point + STEP * np.clip(np.asarray(action, float), -1, 1)

    def simulate(self, actions: Any) -> Any:
        return self.point + STEP * np.cumsum(np.clip(actions, -1, 1), axis=1)

    def picture(self, point: Any, size: Any) -> Any:
        image = np.zeros((*size, 3), np.uint8)
        whole = np.clip(np.round((point + 4) * 8192), 0, 65535).astype(int)
        for half, value in zip((np.s_[:, : size[1] // 2], np.s_[:, size[1] // 2 :]), whole, strict=True):
            image[half] = (value >> 8, value & 255, 0)
        return image

    def render(self, size: Any = None) -> Any:
        return self.picture(self.point, size or self.image_size)

    def observe(self) -> Any:
        return {"pixels": self.render(), "proprio": np.zeros(0, np.float32)}

    def goal_observation(self, size: Any = None) -> Any:
        return {"pixels": self.picture(self.goal, size or self.image_size), "proprio": np.zeros(0, np.float32)}

    def get_state(self) -> Any:
        return self.point.copy()

    def set_state(self, state: Any) -> None:
        self.point = np.array(state, float)

    def task_state(self) -> Any:
        return self.point.copy()

    def set_goal(self, state: Any) -> None:
        self.goal = np.array(state, float)

    def exploration_policy(self, rng: Any) -> Any:
        heading = rng.uniform(-1, 1, 2)
        return lambda state: np.clip(heading + rng.normal(0, 0.3, 2), -1, 1)


class PointWorld(WorldModel):
    """Knows pictures and dynamics exactly, but for its `fault`.

    "blind": the latent says nothing. "reversed": actions are predicted to lead the opposite way. "harmonics": the
    latent holds large harmonics of the place beside it, so that its distance is no distance to the goal.
    """

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.spec, self.fault = SPEC, fault
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def latent(self, place: Tensor) -> Tensor:
        if self.fault == "blind":
            return torch.zeros(*place.shape[:-1], 4)
        waves = 3.0 * torch.sin(40.0 * place) if self.fault == "harmonics" else torch.zeros_like(place)
        return torch.cat([place, waves], -1)

    def encode(self, frames: Any, proprio: Tensor | None = None) -> Tensor:
        self.check_frames(frames)
        corners = frames[:, :, 0][:, :, [0, -1]].double()  # (B, T, 2, 3): left and right half
        return self.latent(((corners[..., 0] * 256 + corners[..., 1]) / 8192 - 4).float())

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        moves = STEP * actions.unflatten(-1, (BLOCK, 2)).sum(-2).cumsum(2)  # (B, S, H, 2)
        return self.latent(context[:, -1, None, None, :2] + (-moves if self.fault == "reversed" else moves))


if TASK not in gymnasium.registry:
    gymnasium.register(TASK, entry_point=PointEnvironment)
