"""Arm reach: a six-joint arm moves into the pose that the goal image shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wmplan.envs.task import Array, Policy, Task
from wmplan.registry import register_task

if TYPE_CHECKING:
    from wmplan.envs.physics import Physics

POSITION_TOLERANCE = 0.03
ANGLE_TOLERANCE = np.pi / 18
JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_pitch", "wrist_roll")
PLANNING = {
    "planner": {"name": "icem", "num_samples": 300, "num_iterations": 6, "num_elites": 20, "horizon": 5},
    "objective": {
        "latent": {"weight": 1.0, "kind": "l1", "steps": "last", "whitened": True},
        "proprio": {"weight": 4.0, "steps": "last", "seen": True},  # what is misread in both pictures cancels
    },
    "schedule": {"replan_every": 5, "arrival_step": 20, "min_horizon": 1, "correction": 1.0},
}


@register_task("arm_reach", id="wmplan.envs:wmplan/ArmReach-v0", planning=PLANNING, max_episode_steps=300)
class ArmReach(Task):
    """Task state: six joint angles and the end effector's x, y, z. Action: change of the joint targets."""

    xml = Path(__file__).parent / "arm_reach.xml"
    camera = "front"
    distractor_area = ((-0.35, 0.35), (-0.2, 0.4))
    substeps = 10
    state_names = (*(f"{joint}_rad" for joint in JOINTS), "hand_x_m", "hand_y_m", "hand_z_m")
    proprio_names = tuple(f"{joint}_rad" for joint in JOINTS)
    proprio_low = np.full(6, -np.pi)
    proprio_high = np.full(6, np.pi)
    action_names = tuple(f"{joint}_change_rad" for joint in JOINTS)
    action_low = np.full(6, -0.1)
    action_high = np.full(6, 0.1)
    incremental = True

    def __init__(self) -> None:
        from wmplan.envs.physics import Physics

        model = Physics(self.xml).model
        self.joint_low, self.joint_high = model.jnt_range.T.copy()
        bodies = model.jnt_bodyid
        self.axes = model.jnt_axis.copy()  # (6, 3), each a unit vector of the frame
        self.offsets = model.body_pos[bodies].copy()  # (6, 3), from each joint's parent link
        self.offsets[0] += model.body_pos[model.body_parentid[bodies[0]]]
        self.hand = model.site("end_effector").pos.copy()

    def controls(self, ctrl: Array, actions: Array) -> Array:
        changes = np.clip(actions, self.action_low, self.action_high)
        targets = np.empty_like(changes)
        for step in range(changes.shape[-2]):  # the clip at every step keeps this from being one cumulative sum
            ctrl = np.clip(ctrl + changes[..., step, :], self.joint_low, self.joint_high)
            targets[..., step, :] = ctrl
        return targets

    def task_state(self, qpos: Array) -> Array:
        return np.concatenate([qpos, self.end_effector(qpos)], axis=-1)

    def end_effector(self, joints: Array) -> Array:
        """Forward kinematics: where the hand is, (..., 3), at joint angles (..., 6).

        From the last link inwards, so that only a point is turned (Rodrigues' formula), never a whole frame.
        """
        point = np.broadcast_to(self.hand, (*joints.shape[:-1], 3))
        for joint in reversed(range(6)):
            axis, angle = self.axes[joint], joints[..., joint, None]
            along = (point @ axis)[..., None] * axis
            turned = along + np.cos(angle) * (point - along) + np.sin(angle) * np.cross(axis, point)
            point = turned + self.offsets[joint]
        return point

    def proprio(self, task_state: Array) -> Array:
        return task_state[..., :6]

    def place_random(self, physics: Physics, rng: np.random.Generator) -> None:
        physics.reset()
        while True:
            pose = rng.uniform(self.joint_low, self.joint_high)
            physics.data.qpos[:] = pose
            physics.data.ctrl[:] = pose
            physics.forward()
            if physics.data.ncon == 0:
                return

    def perturb(self, physics: Physics, speed: float, rng: np.random.Generator) -> None:
        direction = rng.normal(size=6)
        physics.data.qvel[:] += speed * direction / np.linalg.norm(direction)

    def rules(self, state: Array, goal: Array) -> dict[str, NDArray[np.bool_]]:
        near = np.linalg.norm(state[..., 6:] - goal[..., 6:], axis=-1) < POSITION_TOLERANCE
        turned = (np.abs(state[..., :6] - goal[..., :6]) < ANGLE_TOLERANCE).all(axis=-1)
        return {"pose": near & turned}

    def distance(self, state: Array, goal: Array) -> Array:
        offset = np.linalg.norm(state[..., 6:] - goal[..., 6:], axis=-1) / POSITION_TOLERANCE
        turn = np.linalg.norm(state[..., :6] - goal[..., :6], axis=-1) / ANGLE_TOLERANCE
        return np.hypot(offset, turn)

    def progress(self, start: Array, goal: Array) -> NDArray[np.bool_]:
        return ~self.rules(start, goal)["pose"]

    def exploration_policy(self, rng: np.random.Generator) -> Policy:
        return ReachExploration(rng, self.joint_low, self.joint_high, step=float(self.action_high[0]))


# Scripted exploration: smooth moves between random poses, with rests and noise.

REST = 0.5  # probability of a rest after a move
FEW_JOINTS = 0.3  # probability that a move turns only some of the joints


class ReachExploration:
    """Drives the joint targets from the task state; one object an episode.

    Args:
        rng: the episode's generator.
        low: lower joint limits (6,), rad.
        high: upper joint limits (6,), rad.
        step: largest change of a joint target in one robot step, rad.
    """

    def __init__(self, rng: np.random.Generator, low: Array, high: Array, step: float) -> None:
        self.rng, self.low, self.high, self.step = rng, low, high, step
        self.change = np.zeros(6)
        self.noise = np.zeros(6)
        self.rest = 0
        self.command: Array | None = None  # (6,), where the joint targets stand: the joints follow them with some delay

    def begin_move(self, command: Array) -> None:
        """Choose the next pose to go to from `command`, the speed and how rough the way is."""
        rng = self.rng
        moved = np.ones(6, bool) if rng.random() >= FEW_JOINTS else rng.random(6) < 0.4
        self.goal = np.where(moved, rng.uniform(self.low, self.high), command)
        self.speed = self.step * rng.uniform(0.3, 1.0)
        self.roughness = self.step * rng.choice([0.05, 0.2, 0.5])

    def __call__(self, state: Array) -> Array:
        """Change of the joint targets (6,) in rad for the task state (9,)."""
        if self.command is None:
            self.command = state[:6].copy()
            self.begin_move(self.command)
        if self.rest > 0:
            self.rest -= 1
            return np.zeros(6)
        way = self.goal - self.command
        left = float(np.abs(way).max())
        # All joints arrive together; halving the difference to the last change makes starts and turns smooth.
        self.change = 0.5 * self.change + 0.5 * way * min(1.0, self.speed / max(left, 1e-9))
        self.noise = 0.7 * self.noise + self.rng.normal(0.0, self.roughness, 6)
        action = np.clip(self.change + self.noise, -self.step, self.step)
        self.command = np.clip(self.command + action, self.low, self.high)
        if left < 2 * self.step:
            self.begin_move(self.command)
            if self.rng.random() < REST:
                self.rest = int(self.rng.integers(3, 10))
        return action
