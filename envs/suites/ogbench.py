"""OGBench's manipulation: a UR5e arm with a gripper picks up a cube and places it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wmplan.environment import Array, Policy
from wmplan.envs.suites.environment import SuiteTask
from wmplan.envs.suites.mujoco_environment import MujocoSuiteEnvironment
from wmplan.envs.suites.packages import OGBENCH
from wmplan.envs.suites.play import arm_play
from wmplan.errors import UserError
from wmplan.registry import register_task

if TYPE_CHECKING:
    from wmplan.gym.mujoco_camera import ModelCamera

HAND, TURN, GRIPPER, OBJECT = slice(0, 3), slice(3, 5), 5, slice(6, 9)  # of a task state
TOLERANCE = 0.04  # metres, the suite's own
TASKS = 5
GOALS = ("random", "tasks")


class CubeTask(SuiteTask):
    """Task state: hand, its turn about the vertical, opening of the gripper from 0 to 1, the cube's place and turn."""

    action_names = ("hand_x", "hand_y", "hand_z", "hand_yaw", "gripper")
    action_low, action_high = np.full(5, -1.0), np.full(5, 1.0)
    proprio_names = ("hand_x_m", "hand_y_m", "hand_z_m", "hand_yaw_cos", "hand_yaw_sin", "gripper_closing")
    state_names = (*proprio_names, *(f"cube_{name}" for name in ("x_m", "y_m", "z_m", "qw", "qx", "qy", "qz")))

    def rules(self, state: Array, goal: Array) -> dict[str, NDArray[np.bool_]]:
        """The cube is within 4 cm of where the goal has it; the hand is within 5 cm, too."""
        apart = state - goal
        cube = np.linalg.norm(apart[..., OBJECT], axis=-1) <= TOLERANCE
        return {"object": cube, "hand_and_object": cube & (np.linalg.norm(apart[..., HAND], axis=-1) <= 0.05)}

    def distance(self, state: Array, goal: Array) -> Array:
        return np.asarray(np.linalg.norm(state[..., OBJECT] - goal[..., OBJECT], axis=-1)) / TOLERANCE


@register_task(
    "ogbench_cube_single", id="wmplan.envs:wmplan/OGBenchCubeSingle-v0", suite=OGBENCH, max_episode_steps=200
)
class CubeSingle(MujocoSuiteEnvironment):
    """One cube, 20 robot steps a second. The suite's success: the cube within 4 cm of its target.

    The arm is nearly transparent, as in the suite's own pictures; the cube's colour and the target's ghost, which tell
    of success, are left out.

    Args:
        goals: "random", starts and targets anywhere, as the suite's own data are collected; or "tasks", the five tasks
            that the suite evaluates.
    """

    suite = OGBENCH
    task = CubeTask()
    control_rate = 20.0
    expert_steps = 100

    def __init__(self, image_size: Any = 64, render_mode: str | None = "rgb_array", goals: str = "random") -> None:
        if goals not in GOALS:
            raise UserError(f"goals must be one of {', '.join(GOALS)}, got {goals!r}")
        self.suite.require()
        from wmplan.envs.suites.mujoco_suite import SuiteState

        super().__init__(image_size, render_mode)
        self.goals = goals
        make = importlib.import_module("ogbench.manipspace.envs.cube_env").CubeEnv
        self.oracle: Any = importlib.import_module("ogbench.manipspace.oracles.markov.cube_markov").CubeMarkovOracle
        self.inner: Any = make(
            "single",
            ob_type="pixels",  # for the looks of its materials
            mode="task" if goals == "tasks" else "data_collection",
            visualize_info=False,
            terminate_at_goal=False,
        )
        self.inner.get_pixel_observation = lambda: np.empty(0)  # drawn here
        self._begin(0, 1)
        model, data = self.inner.model, self.inner.data
        pinch = data.site("ur5e/robotiq/pinch")
        self.pinch = pinch.xpos, pinch.xmat  # read by the next step, from before the last substep
        self.cube = data.joint("object_joint_0")
        self.target = int(model.body("object_target_0").mocapid[0])
        self.full = SuiteState(model, data, kinematics=self.pinch)

    def _begin(self, seed: int, number: int) -> None:
        """The suite's reset, without what it leaves to chance: the task, and what is left of two random steps."""
        import mujoco

        self.inner.reset(seed=seed, options={"task_id": number} if self.goals == "tasks" else None)
        model, data = self.inner.model, self.inner.data
        data.time, data.ctrl[:], data.qacc_warmstart[:] = 0.0, 0.0, 0.0
        mujoco.mj_forward(model, data)
        data.qacc_warmstart[:] = 0.0

    def start(self, rng: np.random.Generator) -> None:
        self._begin(int(rng.integers(2**31)), int(rng.integers(TASKS)) + 1)

    def advance(self, action: Array) -> None:
        self.inner.step(action)

    def task_state(self) -> Array:
        place, turned = self.pinch
        yaw = float(np.arctan2(turned[3], turned[0]))  # of the rotation's first column
        closing = np.clip(self.inner.data.qpos[self.inner._gripper_opening_joint_id] / 0.8, 0, 1)
        return np.concatenate([place, [np.cos(yaw), np.sin(yaw), closing], self.cube.qpos])

    @property
    def succeeded(self) -> bool:
        return bool(np.linalg.norm(self.cube.qpos[:3] - self.inner.data.mocap_pos[self.target]) <= TOLERANCE)

    def reach_own_goal(self) -> None:
        """The cube is on its target, and the arm where it was, above."""
        state, data = self.get_state(), self.inner.data
        self.cube.qpos[:] = np.concatenate([data.mocap_pos[self.target], data.mocap_quat[self.target]])
        self.cube.qvel[:] = 0
        moved = self.get_state()
        self.set_state(state)
        self.set_state(moved)

    def with_other_goal(self, state: Array) -> Array:
        self.set_state(state)
        self.inner.data.mocap_pos[self.target, :2] += 0.05
        return self.get_state()

    def make_camera(self) -> ModelCamera:
        from wmplan.envs.suites.mujoco_suite import fast_camera, free_camera

        view = free_camera((0.42, 0.0, 0.19), distance=0.92, azimuth=180, elevation=-38)
        return fast_camera(self.inner.model, view, cell=0.01)

    # ------------------------------------------------------------------ policies

    def _place(self, rng: np.random.Generator, target: Array, yaw: float) -> Policy:
        """The suite's Markov oracle, which grasps the cube, places it on a target (3,), and goes away."""
        oracle = self.oracle(env=self.inner)
        oracle._final_pos = rng.uniform(*self.inner._arm_sampling_bounds)
        oracle._final_yaw, oracle._step, oracle._done = rng.uniform(-np.pi, np.pi), 0, False

        def act(state: Array) -> Array:
            seen = self.inner.compute_ob_info()
            seen |= {"privileged/target_block": 0, "privileged/target_block_pos": target}
            seen["privileged/target_block_yaw"] = np.array([yaw])
            return np.asarray(oracle.select_action(None, seen), np.float64)

        return act

    def expert_policy(self, rng: np.random.Generator) -> Policy:
        """The suite's Markov oracle, to the target of the present reset."""
        quat = self.inner.data.mocap_quat[self.target]
        yaw = 2 * float(np.arctan2(quat[3], quat[0]))
        return self._place(rng, self.inner.data.mocap_pos[self.target].copy(), yaw)

    def exploration_policy(self, rng: np.random.Generator) -> Policy:
        bounds = self.inner._object_sampling_bounds

        def solve(state: Array) -> Policy:
            if rng.random() < 0.3:
                return self.expert_policy(rng)
            return self._place(rng, np.append(rng.uniform(bounds[0], bounds[1]), 0.02), rng.uniform(-np.pi, np.pi))

        return arm_play(rng, solve, self.inner._workspace_bounds, HAND, OBJECT, turns=1)
