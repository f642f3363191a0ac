"""Arm reach: a six-joint arm moves into the pose that the goal image shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wmplan.envs.arm_reach_policy import ReachExploration
from wmplan.envs.physics import Physics
from wmplan.envs.task import Array, Policy, Task

POSITION_TOLERANCE = 0.03
ANGLE_TOLERANCE = np.pi / 18
JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_pitch", "wrist_roll")


class ArmReach(Task):
    """Task state: six joint angles and the end effector's x, y, z. Action: change of the joint targets."""

    xml = Path(__file__).parent / "arm_reach.xml"
    camera = "front"
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

    def knock(self, physics: Physics, speed: float, rng: np.random.Generator) -> None:
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
