"""OGBench's pointmaze: a ball that goes where it is told, as far as walls let it, Medium and Large."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from wmplan.environment import Array, Policy
from wmplan.envs.suites.environment import SuiteTask
from wmplan.envs.suites.mazes import PLACE, Maze, follow, maze_play
from wmplan.envs.suites.mujoco_environment import MujocoSuiteEnvironment
from wmplan.envs.suites.ogbench_arm import TASKS, check_goals
from wmplan.envs.suites.packages import OGBENCH
from wmplan.registry import register_task

if TYPE_CHECKING:
    from wmplan.gym.mujoco_camera import ModelCamera

TOLERANCE = 1.0  # metres, the suite's own
STEP = 0.2  # metres of a robot step with an action of 1


class OGBenchMazeTask(SuiteTask):
    """Task state: place of the ball, all of which is its proprioception. Action: 20 cm a robot step each way."""

    action_names = ("step_x", "step_y")
    action_low, action_high = np.full(2, -1.0), np.full(2, 1.0)
    state_names = ("ball_x_m", "ball_y_m")
    proprio_names = state_names

    def rules(self, state: Array, goal: Array) -> dict[str, NDArray[np.bool_]]:
        """Within a metre, a quarter of a cell, as the suite has it."""
        return {"place": self.distance(state, goal) <= 1}

    def distance(self, state: Array, goal: Array) -> Array:
        return np.asarray(np.linalg.norm(state - goal, axis=-1)) / TOLERANCE


class OGBenchMazeEnvironment(MujocoSuiteEnvironment):
    """One of the mazes, 10 robot steps a second; the classes below say which.

    Args:
        goals: "random", starts and goals anywhere in the maze; or "tasks", the five tasks that the suite evaluates.
            Both are up to a metre aside of a cell's middle in each direction, as the suite has it.
    """

    suite = OGBENCH
    task = OGBenchMazeTask()
    control_rate = 10.0
    maze_type: ClassVar[str]
    """The suite's name of the maze."""

    def __init__(self, image_size: Any = 64, render_mode: str | None = "rgb_array", goals: str = "random") -> None:
        self.goals = check_goals(goals)
        self.suite.require()
        from wmplan.envs.suites.mujoco_suite import SuiteState

        super().__init__(image_size, render_mode)
        make = importlib.import_module("ogbench.locomaze.maze").make_maze_env
        self.inner: Any = make("point", "maze", maze_type=self.maze_type, terminate_at_goal=False)
        walls, side = self.inner.maze_map[::-1], self.inner._maze_unit  # the suite's first row is the lowest
        x, y = self.inner.ij_to_xy((len(walls) - 1, 0))
        self.maze = Maze(walls, (x - side / 2, y + side / 2), side)
        self.full = SuiteState(self.inner.model, self.inner.data, numbers=[(self.inner, "cur_goal_xy")])

    def start(self, rng: np.random.Generator) -> None:
        """A start of the suite's, whose own reset draws from NumPy's one generator."""
        import mujoco

        ends = [self.maze.random_place(rng, 0) for _ in range(2)]
        if self.goals == "tasks":
            told = self.inner.task_infos[int(rng.integers(TASKS))]
            ends = [np.array(self.inner.ij_to_xy(told[name])) for name in ("init_ij", "goal_ij")]
        aside = self.inner._noise * self.inner._maze_unit / 4
        place, goal = (end + rng.uniform(-aside, aside, 2) for end in ends)
        mujoco.mj_resetData(self.inner.model, self.inner.data)
        self.inner.set_goal(goal_xy=goal)
        self.inner.set_xy(place)
        self.full.set(self.full.get())

    def advance(self, action: Array) -> None:
        self.inner.step(action)

    def task_state(self) -> Array:
        return np.array(self.inner.data.qpos)

    @property
    def succeeded(self) -> bool:
        return bool(self.inner.compute_success())

    def reach_own_goal(self) -> None:
        self.inner.set_xy(self.inner.cur_goal_xy)

    def with_other_goal(self, state: Array) -> Array:
        other = state.copy()
        other[-2:] = self.maze.centre(self.maze.cells[0]) + 0.1
        return other

    def make_camera(self) -> ModelCamera:
        from wmplan.envs.suites.mujoco_suite import fast_camera, free_camera

        model, (rows, columns) = self.inner.model, self.inner.maze_map.shape
        model.mat_rgba[model.material("target").id, 3] = 0  # the suite's own goal
        x, y = (
            float(at) for at in np.mean([self.inner.ij_to_xy((0, 0)), self.inner.ij_to_xy((rows - 1, columns - 1))], 0)
        )
        # From above, of the outer walls an edge.
        wide = (max(rows, columns) - 1.7) * self.inner._maze_unit
        high = wide / 2 / np.tan(np.radians(model.vis.global_.fovy / 2))
        return fast_camera(model, free_camera((x, y, 2), high, azimuth=90, elevation=-90))

    # ------------------------------------------------------------------ policies

    def _lead(self, place: Array, target: Array) -> Policy:
        return follow(self.maze, place, target, gain=1 / STEP)

    def expert_policy(self, rng: np.random.Generator) -> Policy:
        """A shortest way from cell to cell to the suite's own goal; of this adapter."""
        return self._lead(self.task_state()[PLACE], np.array(self.inner.cur_goal_xy))

    def exploration_policy(self, rng: np.random.Generator) -> Policy:
        """Goes to random places, pushes in a direction wherever that leads, and rests."""
        return maze_play(rng, self.maze, self._lead, paces=(0.6, 1.0))  # a cell takes 20 steps at the least


@register_task(
    "ogbench_pointmaze_medium",
    id="wmplan.envs:wmplan/OGBenchPointMazeMedium-v0",
    suite=OGBENCH,
    max_episode_steps=1000,
)
class OGBenchPointMazeMedium(OGBenchMazeEnvironment):
    """A maze of 6 x 6 cells of 4 m. The suite's success: the ball within a metre of its goal."""

    maze_type = "medium"
    expert_steps = 400


@register_task(
    "ogbench_pointmaze_large",
    id="wmplan.envs:wmplan/OGBenchPointMazeLarge-v0",
    suite=OGBENCH,
    max_episode_steps=1000,
)
class OGBenchPointMazeLarge(OGBenchMazeEnvironment):
    """A maze of 7 x 10 cells of 4 m. The suite's success: the ball within a metre of its goal."""

    maze_type = "large"
    expert_steps = 600
