"""Push-T: a pusher moves a T block on a table until both stand where the goal image shows them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wmplan.envs.physics import Physics
from wmplan.envs.pusht_policy import PushExploration
from wmplan.envs.task import Array, Policy, Task, wrap_angle

TABLE_WIDTH = 0.512
POSITION_TOLERANCE = 20 / 512 * TABLE_WIDTH
ANGLE_TOLERANCE = np.pi / 9


class PushT(Task):
    """Task state: pusher x, y, block x, y (its centre of mass), block angle. Action: pusher velocity."""

    xml = Path(__file__).parent / "pusht.xml"
    camera = "top"
    substeps = 10
    state_names = ("pusher_x_m", "pusher_y_m", "block_x_m", "block_y_m", "block_angle_rad")
    proprio_names = ("pusher_x_m", "pusher_y_m")
    proprio_low = np.full(2, -TABLE_WIDTH / 2)
    proprio_high = np.full(2, TABLE_WIDTH / 2)
    action_names = ("pusher_vx_m_s", "pusher_vy_m_s")
    action_low = np.array([-0.2, -0.2])
    action_high = np.array([0.2, 0.2])

    def controls(self, ctrl: Array, actions: Array) -> Array:
        return np.clip(actions, self.action_low, self.action_high)

    def task_state(self, qpos: Array) -> Array:
        block_x, block_y, _, angle, pusher_x, pusher_y = np.moveaxis(qpos, -1, 0)
        return np.stack([pusher_x, pusher_y, block_x, block_y, wrap_angle(angle)], axis=-1)

    def proprio(self, task_state: Array) -> Array:
        return task_state[..., :2]

    def place_random(self, physics: Physics, rng: np.random.Generator) -> None:
        block = rng.uniform(-0.13, 0.13, size=2)
        angle = rng.uniform(-np.pi, np.pi)
        pusher = rng.uniform(-0.22, 0.22, size=2)
        while np.linalg.norm(pusher - block) < 0.11:  # farther than any corner of the T: no overlap
            pusher = rng.uniform(-0.22, 0.22, size=2)
        physics.reset()
        physics.data.qpos[:] = [*block, 0.0, angle, *pusher]
        physics.forward()

    def knock(self, physics: Physics, speed: float, rng: np.random.Generator) -> None:
        direction = rng.uniform(-np.pi, np.pi)
        physics.data.qvel[:2] += speed * np.array([np.cos(direction), np.sin(direction)])  # of the block

    def rules(self, state: Array, goal: Array) -> dict[str, NDArray[np.bool_]]:
        offset = state[..., :4] - goal[..., :4]
        turned = np.abs(wrap_angle(state[..., 4] - goal[..., 4])) < ANGLE_TOLERANCE
        together = np.linalg.norm(offset, axis=-1) < POSITION_TOLERANCE
        block = np.linalg.norm(offset[..., 2:], axis=-1) < POSITION_TOLERANCE
        return {"public": together & turned, "block": block & turned}

    def distance(self, state: Array, goal: Array) -> Array:
        offset = np.linalg.norm(state[..., :4] - goal[..., :4], axis=-1) / POSITION_TOLERANCE
        turn = wrap_angle(state[..., 4] - goal[..., 4]) / ANGLE_TOLERANCE
        return np.hypot(offset, turn)

    def progress(self, start: Array, goal: Array) -> NDArray[np.bool_]:
        return ~self.rules(start, goal)["block"]  # the block has to move

    def exploration_policy(self, rng: np.random.Generator) -> Policy:
        return PushExploration(rng, speed=float(self.action_high[0]))
