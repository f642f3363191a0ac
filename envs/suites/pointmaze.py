"""PointMaze of gymnasium-robotics: a ball that forces push through a maze, UMaze and Medium."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from wmplan.environment import Array, Policy
from wmplan.envs.suites.environment import SuiteTask
from wmplan.envs.suites.mazes import PLACE, Maze, follow, maze_play
from wmplan.envs.suites.mujoco_environment import MujocoSuiteEnvironment
from wmplan.envs.suites.packages import GYMNASIUM_ROBOTICS
from wmplan.envs.suites.recipes import planning, small_training
from wmplan.registry import register_task

if TYPE_CHECKING:
    from wmplan.gym.mujoco_camera import ModelCamera

TOLERANCE = 0.45  # metres, the suite's own
JEPA_WMS = 0.5  # metres, of DINO-WM and jepa-wms
TRAINING = small_training(
    action_block=15,  # 0.15 s: the ball meets one wall in it at most, and a plan of ten goes all through UMaze
    latent_dim=16,
    joint={"steps": 400, "batch_size": 48},
    predictor_options={"width": 192, "depth": 3},
    dynamics={"steps": 4000, "batch_size": 192, "save_every": 1000},
    state_weight=10,
)
PLANNING = planning(
    # Where the ball is to be, nearly at rest; how fast it is no frame shows, so that a goal is read as slow.
    {"proprio": {"weight": 1.0, "steps": "last", "weight_by": [1.0, 1.0, 0.05, 0.05]}},
    {"replan_every": 25, "arrival_step": 150, "min_horizon": 2},
    horizon=10,
    num_samples=240,
    num_iterations=5,
    num_elites=20,
    parameterization="spline-linear",
    knot_spacing=25,
)


class PointMazeTask(SuiteTask):
    """Task state: place and velocity of the ball, all of which is its proprioception. Action: the force on it."""

    action_names = ("force_x", "force_y")
    action_low, action_high = np.full(2, -1.0), np.full(2, 1.0)
    state_names = ("ball_x_m", "ball_y_m", "ball_vx_m_s", "ball_vy_m_s")
    proprio_names = state_names
    reported = ("jepa_wms",)

    def rules(self, state: Array, goal: Array) -> dict[str, NDArray[np.bool_]]:
        """Within 45 cm as the suite has it, and within 50 cm as DINO-WM and jepa-wms do."""
        metres = self.distance(state, goal) * TOLERANCE
        return {"place": metres <= TOLERANCE, "jepa_wms": metres < JEPA_WMS}

    def distance(self, state: Array, goal: Array) -> Array:
        return np.asarray(np.linalg.norm(state[..., PLACE] - goal[..., PLACE], axis=-1)) / TOLERANCE


class PointMazeEnvironment(MujocoSuiteEnvironment):
    """One of the mazes, 100 robot steps a second; the classes below say which."""

    suite = GYMNASIUM_ROBOTICS
    task = PointMazeTask()
    control_rate = 100.0
    maze_map: ClassVar[str]
    """Name of the maze in gymnasium_robotics.envs.maze.maps."""

    def __init__(self, image_size: Any = 64, render_mode: str | None = "rgb_array") -> None:
        self.suite.require()
        from wmplan.envs.suites.mujoco_suite import SuiteState

        super().__init__(image_size, render_mode)
        walls = getattr(importlib.import_module("gymnasium_robotics.envs.maze.maps"), self.maze_map)
        make = importlib.import_module("gymnasium_robotics.envs.maze.point_maze").PointMazeEnv
        self.inner: Any = make(maze_map=walls, continuing_task=True, reset_target=False)
        self.inner.reset(seed=0)
        self.full = SuiteState(self.inner.model, self.inner.data, numbers=[(self.inner, "goal")])
        self.maze = Maze(walls, (-self.inner.maze.x_map_center, self.inner.maze.y_map_center))

    def start(self, rng: np.random.Generator) -> None:
        self.inner.reset(seed=int(rng.integers(2**31)))
        self.full.set(self.full.get())

    def advance(self, action: Array) -> None:
        self.inner.step(action)

    def task_state(self) -> Array:
        return np.concatenate([self.inner.data.qpos, self.inner.data.qvel])

    @property
    def succeeded(self) -> bool:
        return bool(np.linalg.norm(self.task_state()[PLACE] - self.inner.goal) <= TOLERANCE)

    def reach_own_goal(self) -> None:
        self.inner.point_env.set_state(self.inner.goal, np.zeros(2))

    def with_other_goal(self, state: Array) -> Array:
        other = state.copy()
        other[-2:] = self.maze.centre(self.maze.cells[0]) + 0.1
        return other

    def make_camera(self) -> ModelCamera:
        from wmplan.envs.suites.mujoco_suite import fast_camera, free_camera

        model = self.inner.model
        model.site_rgba[model.site("target").id, 3] = 0  # the suite's own goal; the ball is a site, too
        # From above, of the outer walls an edge.
        high = (self.inner.maze.map_length - 1.7) / 2 / np.tan(np.radians(model.vis.global_.fovy / 2))
        return fast_camera(model, free_camera((0, 0, 0.4), high, azimuth=90, elevation=-90), sites=True)

    # ------------------------------------------------------------------ policies

    def expert_policy(self, rng: np.random.Generator) -> Policy:
        """A shortest way from cell to cell to the suite's own goal; of this adapter, the suite has none."""
        return follow(self.maze, self.task_state()[PLACE], self.inner.goal.copy())

    def exploration_policy(self, rng: np.random.Generator) -> Policy:
        """Goes to random places, pushes as plans do, into walls and along them, and rests or coasts."""
        return maze_play(rng, self.maze, lambda place, target: follow(self.maze, place, target), sways=True)


@register_task(
    "pointmaze_umaze",
    id="wmplan.envs:wmplan/PointMazeUMaze-v0",
    training=TRAINING,
    planning=PLANNING,
    suite=GYMNASIUM_ROBOTICS,
    max_episode_steps=300,
)
class PointMazeUMaze(PointMazeEnvironment):
    """A maze of one bend. The suite's success: the ball within 45 cm of its goal."""

    maze_map = "U_MAZE"
    expert_steps = 300


@register_task(
    "pointmaze_medium", id="wmplan.envs:wmplan/PointMazeMedium-v0", suite=GYMNASIUM_ROBOTICS, max_episode_steps=600
)
class PointMazeMedium(PointMazeEnvironment):
    """A maze of 6 x 6 cells. The suite's success: the ball within 45 cm of its goal."""

    maze_map = "MEDIUM_MAZE"
    expert_steps = 600
