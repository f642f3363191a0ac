"""OGBench's cube: a UR5e arm with a gripper picks it up and places it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wmplan.environment import Array, Policy
from wmplan.envs.suites.ogbench_arm import HAND, OBJECT, TOLERANCE, ArmEnvironment, ArmTask
from wmplan.envs.suites.packages import OGBENCH
from wmplan.envs.suites.play import arm_play
from wmplan.envs.suites.recipes import scene_planning, scene_training
from wmplan.registry import register_task

if TYPE_CHECKING:
    from wmplan.gym.mujoco_camera import ModelCamera


class CubeTask(ArmTask):
    """The cube is what it is about."""

    def rules(self, state: Array, goal: Array) -> dict[str, NDArray[np.bool_]]:
        """The cube is within 4 cm of where the goal has it; the hand is within 5 cm, too."""
        apart = state - goal
        cube = np.linalg.norm(apart[..., OBJECT], axis=-1) <= TOLERANCE
        return {"object": cube, "hand_and_object": cube & (np.linalg.norm(apart[..., HAND], axis=-1) <= 0.05)}

    def distance(self, state: Array, goal: Array) -> Array:
        return np.asarray(np.linalg.norm(state[..., OBJECT] - goal[..., OBJECT], axis=-1)) / TOLERANCE


@register_task(
    "ogbench_cube_single",
    id="wmplan.envs:wmplan/OGBenchCubeSingle-v0",
    suite=OGBENCH,
    max_episode_steps=200,
    training=scene_training(joint_steps=1500, dynamics_steps=3000),
    planning=scene_planning(
        steps="sum",
        proprio=1.0,
        min_horizon=1,
        num_elites=20,
        cold_start_samples=1200,  # whether the cube is grasped or let go
    ),
)
class CubeSingle(ArmEnvironment):
    """One cube, 20 robot steps a second. The suite's success: the cube within 4 cm of its target.

    The cube's colour and the target's ghost, which tell of success, are left out.
    """

    task = CubeTask()
    expert_steps = 100
    world = ("ogbench.manipspace.envs.cube_env", "CubeEnv", "single")

    @property
    def succeeded(self) -> bool:
        return bool(np.linalg.norm(self.cube.qpos[:3] - self.inner.data.mocap_pos[self.target]) <= TOLERANCE)

    def _put_at_goal(self) -> None:
        self._put_cube_at_goal()

    def make_camera(self) -> ModelCamera:
        from wmplan.envs.suites.mujoco_suite import fast_camera, free_camera

        view = free_camera((0.42, 0.0, 0.19), distance=0.92, azimuth=180, elevation=-38)
        return fast_camera(self.inner.model, view, cell=0.01)

    # ------------------------------------------------------------------ policies

    def expert_policy(self, rng: np.random.Generator) -> Policy:
        """The suite's Markov oracle, to the target of the present reset."""
        return self.place(rng, self.inner.data.mocap_pos[self.target].copy(), self.target_yaw)

    def exploration_policy(self, rng: np.random.Generator) -> Policy:
        def solve(state: Array) -> Policy:
            return self.expert_policy(rng) if rng.random() < 0.3 else self.place_anywhere(rng)

        return arm_play(rng, solve, self.inner._workspace_bounds, HAND, OBJECT, turns=1)
