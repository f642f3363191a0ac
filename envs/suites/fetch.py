"""Fetch of gymnasium-robotics: an arm whose hand reaches, pushes a block, or picks it up and places it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from wmplan.environment import Array, Policy
from wmplan.envs.suites.environment import SuiteTask
from wmplan.envs.suites.mujoco_environment import MujocoSuiteEnvironment
from wmplan.envs.suites.packages import GYMNASIUM_ROBOTICS
from wmplan.envs.suites.play import arm_play
from wmplan.envs.suites.recipes import planning, scene_planning, scene_training, small_training
from wmplan.registry import register_task

if TYPE_CHECKING:
    from wmplan.gym.mujoco_camera import ModelCamera

HAND, GRIPPER, OBJECT = slice(0, 3), 3, slice(4, 7)  # of a task state
TOLERANCE = 0.05  # metres, the suite's own
PER_STEP = 0.05  # metres that an action of 1 moves the hand's target
PLACES = np.array([[1.15, 0.55, 0.43], [1.5, 0.95, 0.7]])
"""Corners of the box over the table that the hand wanders in, in metres."""
ON_TABLE = 0.41
"""Metres above the floor that the middle of a block is at least while it is on the table, or held above it."""
GRASPED = 0.027  # metres of each finger from the middle, at and below which a block of 5 cm is held


class FetchTask(SuiteTask):
    """Task state: hand, opening of the gripper (a finger's way from the middle) and, where there is one, the block.

    Args:
        object: whether there is a block, which the task is then about.
    """

    action_names = ("hand_x", "hand_y", "hand_z", "gripper")
    action_low, action_high = np.full(4, -1.0), np.full(4, 1.0)
    proprio_names = ("hand_x_m", "hand_y_m", "hand_z_m", "gripper_opening_m")

    def __init__(self, object: bool) -> None:
        self.object = object
        block = ("x_m", "y_m", "z_m", "qw", "qx", "qy", "qz") if object else ()
        self.state_names = (*self.proprio_names, *(f"block_{name}" for name in block))

    def rules(self, state: Array, goal: Array) -> dict[str, NDArray[np.bool_]]:
        """What the task is about is within 5 cm of where the goal has it; hand and block both are."""
        apart = state - goal
        hand = np.linalg.norm(apart[..., HAND], axis=-1) < TOLERANCE
        if not self.object:
            return {"hand": hand}
        block = np.linalg.norm(apart[..., OBJECT], axis=-1) < TOLERANCE
        return {"object": block, "hand_and_object": hand & block}

    def may_be_goal(self, state: Array) -> NDArray[np.bool_]:
        """A block that falls, or lies beside the table, is never brought back."""
        return state[..., OBJECT][..., 2] > ON_TABLE if self.object else super().may_be_goal(state)

    def distance(self, state: Array, goal: Array) -> Array:
        part = OBJECT if self.object else HAND
        return np.asarray(np.linalg.norm(state[..., part] - goal[..., part], axis=-1)) / TOLERANCE


class FetchEnvironment(MujocoSuiteEnvironment):
    """One of the Fetch tasks, 25 robot steps a second; the classes below say which."""

    suite = GYMNASIUM_ROBOTICS
    control_rate = 25.0
    expert_steps = 50
    module: ClassVar[str]
    kind: ClassVar[str]
    task: FetchTask

    def __init__(self, image_size: Any = 64, render_mode: str | None = "rgb_array") -> None:
        self.suite.require()
        from wmplan.envs.suites.compatibility import mend_joint_types
        from wmplan.envs.suites.mujoco_suite import SuiteState

        super().__init__(image_size, render_mode)
        mend_joint_types(importlib.import_module("gymnasium_robotics.utils.mujoco_utils"))
        module = importlib.import_module(f"gymnasium_robotics.envs.fetch.{self.module}")
        self.inner: Any = getattr(module, self.kind)()
        self.inner.reset(seed=0)
        model, data = self.inner.model, self.inner.data
        welded = int(model.body("robot0:gripper_link").id)  # where the mocap body is put before each step
        self.grip = data.site("robot0:grip").xpos
        kinematics = [data.xpos[welded], data.xquat[welded], self.grip]
        if self.task.object:
            self.block, self.block_joint = data.site("object0").xpos, data.joint("object0:joint")
            kinematics.append(self.block)
        self.fingers = [data.joint(f"robot0:{side}_gripper_finger_joint") for side in "lr"]
        self.full = SuiteState(model, data, numbers=[(self.inner, "goal")], kinematics=kinematics)
        model.geom_rgba[model.geom_bodyid == model.body("robot0:mocap").id, 3] = 0  # a cross where the hand is to go

    def start(self, rng: np.random.Generator) -> None:
        self.inner.reset(seed=int(rng.integers(2**31)))

    def advance(self, action: Array) -> None:
        self.inner.step(action)

    def task_state(self) -> Array:
        opening = np.mean([joint.qpos[0] for joint in self.fingers])
        block = [self.block, self.block_joint.qpos[3:7]] if self.task.object else []
        return np.concatenate([self.grip, [opening], *block])

    @property
    def succeeded(self) -> bool:
        return bool(np.linalg.norm((self.block if self.task.object else self.grip) - self.inner.goal) < TOLERANCE)

    def reach_own_goal(self) -> None:
        expert = self.expert_policy(np.random.default_rng(0))
        for _ in range(2 * self.expert_steps):
            self.step_physics(expert(self.task_state()))

    def with_other_goal(self, state: Array) -> Array:
        other = state.copy()
        other[-3:] += 0.05
        return other

    def make_camera(self) -> ModelCamera:
        from wmplan.envs.suites.mujoco_suite import fast_camera, free_camera

        view = free_camera((1.32, 0.75, 0.56), distance=1.0, azimuth=140, elevation=-30)
        return fast_camera(self.inner.model, view, cell=0.01)

    # ------------------------------------------------------------------ policies

    def towards(self, target: Array) -> Policy:
        """Bring what the task is about to a target (3,)."""
        return lambda state: _move(state, target, -1.0)

    def expert_policy(self, rng: np.random.Generator) -> Policy:
        """To the suite's own goal; of this adapter, the suite has none."""
        return self.towards(self.inner.goal.copy())

    def exploration_policy(self, rng: np.random.Generator) -> Policy:
        own = self.inner.goal.copy()

        def solve(state: Array) -> Policy:
            target: Array = own if rng.random() < 0.4 else self.another(rng)
            return self.towards(target)

        return arm_play(rng, solve, PLACES, HAND, OBJECT if self.task.object else None, stretch=0.4)

    def another(self, rng: np.random.Generator) -> Array:
        """Another target, of all that the arm reaches."""
        return rng.uniform(PLACES[0], PLACES[1])


def _move(state: Array, target: Array, gripper: float, gain: float = 0.5) -> Array:
    """The action (4,) that takes the hand a share of the way to a target (3,)."""
    return np.append(np.clip(gain * (target - state[HAND]) / PER_STEP, -1, 1), gripper)


COMMON: dict[str, Any] = {"suite": GYMNASIUM_ROBOTICS, "max_episode_steps": 50}


@register_task(
    "fetch_reach",
    id="wmplan.envs:wmplan/FetchReach-v0",
    training=small_training(
        joint={"steps": 500, "batch_size": 40},
        predictor_options={"width": 256, "depth": 2},
        dynamics={"steps": 1500, "batch_size": 128},
        state_weight=5,
    ),
    # Where the hand is to be; the gripper may be as it likes.
    planning=planning(
        {"proprio": {"weight": 1.0, "steps": "sum", "weight_by": [1.0, 1.0, 1.0, 0.0]}}, {"replan_every": 5}
    ),
    **COMMON,
)
class FetchReach(FetchEnvironment):
    """Reach: the hand goes to a place in the air. The suite's success: within 5 cm of its goal."""

    module, kind = "reach", "MujocoFetchReachEnv"
    task = FetchTask(object=False)


@register_task(
    "fetch_push",
    id="wmplan.envs:wmplan/FetchPush-v0",
    training=scene_training(joint_steps=3000, dynamics_steps=5000),
    # What the hand's own state adds has to be little, or else plans go to where the hand is to be and leave the block.
    planning=scene_planning(
        steps="last",
        proprio=0.2,
        min_horizon=2,
        num_elites=25,
        cold_start_samples=2400,  # decides from which side the block is pushed
    ),
    **COMMON,
)
class FetchPush(FetchEnvironment):
    """Push: the closed gripper pushes a block over the table. The suite's success: within 5 cm of its goal."""

    module, kind = "push", "MujocoFetchPushEnv"
    task = FetchTask(object=True)

    def towards(self, target: Array) -> Policy:
        def act(state: Array) -> Array:
            way = target[:2] - state[OBJECT][:2]
            left = float(np.linalg.norm(way))
            if left < 0.015:
                return np.zeros(4)
            ahead = way / left
            apart = state[HAND][:2] - state[OBJECT][:2]
            along, beside = float(apart @ ahead), float(abs(apart @ [-ahead[1], ahead[0]]))
            behind = np.append(state[OBJECT][:2] - 0.075 * ahead, state[OBJECT][2])
            if along < -0.02 and beside < 0.015 and state[HAND][2] < state[OBJECT][2] + 0.02:
                aside = apart - along * ahead
                return np.append(np.clip((ahead * min(left, 0.04) - aside) / PER_STEP, -1, 1), [0, 0])
            if np.linalg.norm(state[HAND][:2] - behind[:2]) < 0.012:
                return _move(state, behind, 0.0)  # down
            above = behind + [0, 0, 0.09]
            if state[HAND][2] < above[2] - 0.03 and np.linalg.norm(apart) < 0.12:
                return _move(state, np.append(state[HAND][:2], above[2]), 0.0)  # up, before it goes round
            return _move(state, above, 0.0)

        return act

    def another(self, rng: np.random.Generator) -> Array:
        return np.append(rng.uniform([1.17, 0.57], [1.47, 0.93]), 0.425)


@register_task("fetch_pick_and_place", id="wmplan.envs:wmplan/FetchPickAndPlace-v0", **COMMON)
class FetchPickAndPlace(FetchEnvironment):
    """Pick up a block and place it. The suite's success: within 5 cm of its goal, on the table or in the air."""

    module, kind = "pick_and_place", "MujocoFetchPickAndPlaceEnv"
    task = FetchTask(object=True)

    def towards(self, target: Array) -> Policy:
        def act(state: Array) -> Array:
            apart = state[OBJECT] - state[HAND]
            beside = float(np.linalg.norm(apart[:2]))
            if np.linalg.norm(apart) < 0.025 and state[GRIPPER] <= GRASPED:
                return _move(state, target - apart, -1.0)
            if np.linalg.norm(apart) < 0.015:
                return _move(state, state[OBJECT], -1.0)  # close
            if beside < 0.015:
                return _move(state, state[OBJECT], 1.0)  # down, open
            return _move(state, state[OBJECT] + [0, 0, 0.08], 1.0)

        return act

    def another(self, rng: np.random.Generator) -> Array:
        high = PLACES[1] - [0, 0, 0.25 * (rng.random() < 0.5)]
        return rng.uniform(PLACES[0], high)
