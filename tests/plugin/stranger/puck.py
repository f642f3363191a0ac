"""A puck that is moved over a table: a task in one file beside its XML."""

from pathlib import Path

import numpy as np

import wmplan
from wmplan.envs.task import Task


@wmplan.register_task(
    "puck",
    id="stranger/Puck-v0",
    symmetries={"half_turn": {"frames": "half_turn", "action": [[-1, 0], [0, -1]], "proprio": [[-1, 0], [0, -1]]}},
    regions={"near the middle": {"entries": ["puck_x_m", "puck_y_m"], "below": 0.1}},
    planning={"planner": {"name": "shooting"}, "objective": {"largest_difference": {"power": 2.0}}},
)
class Puck(Task):
    xml = Path(__file__).parent / "puck.xml"
    camera = "top"
    substeps = 10
    state_names = proprio_names = ("puck_x_m", "puck_y_m")
    proprio_low, proprio_high = np.full(2, -0.35), np.full(2, 0.35)
    action_names = ("puck_vx_m_s", "puck_vy_m_s")
    action_low, action_high = np.full(2, -0.2), np.full(2, 0.2)

    def controls(self, ctrl, actions):
        return np.clip(actions, self.action_low, self.action_high)

    def task_state(self, qpos):
        return np.array(qpos)

    def proprio(self, task_state):
        return task_state

    def place_random(self, physics, rng):
        physics.reset()
        physics.data.qpos[:] = rng.uniform(-0.25, 0.25, 2)
        physics.forward()

    def rules(self, state, goal):
        return {"there": self.distance(state, goal) < 1}

    def distance(self, state, goal):
        return np.linalg.norm(state - goal, axis=-1) / 0.03

    def exploration_policy(self, rng):
        return lambda state: rng.uniform(-0.2, 0.2, 2)
