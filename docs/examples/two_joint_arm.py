"""A task from an MJCF: the file, a camera, and what shall differ from the defaults. Run it to have it checked."""

from pathlib import Path

import numpy as np

import wmplan
from wmplan.envs.mjcf import MJCFTask


@wmplan.register_task("two_joint_arm", id="mine/TwoJointArm-v0")
class TwoJointArm(MJCFTask):
    xml = Path(__file__).with_suffix(".xml")
    camera = "top"
    rate = 10  # robot steps a second

    def place_random(self, physics, rng):  # default: anywhere in the joints' ranges
        physics.reset()
        physics.data.qpos[:] = physics.data.ctrl[:] = rng.uniform(-1.5, 1.5, 2)
        physics.forward()

    def hand(self, state):  # (..., 2) joint angles -> (..., 2) m
        shoulder, both = state[..., 0], state.sum(-1)
        links = 0.15 * np.stack([np.cos(shoulder), np.sin(shoulder)]) + 0.12 * np.stack([np.cos(both), np.sin(both)])
        return np.moveaxis(links, 0, -1)

    def distance(self, state, goal):  # 1 where the rule begins to hold: the hand within 3 cm
        return np.linalg.norm(self.hand(state) - self.hand(goal), axis=-1) / 0.03


if __name__ == "__main__":
    from wmplan.environment_check import check_environment

    check_environment("two_joint_arm")
