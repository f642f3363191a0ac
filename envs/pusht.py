"""Push-T: a pusher moves a T block on a table until both stand where the goal image shows them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wmplan.envs.task import Array, Policy, Task, wrap_angle
from wmplan.registry import register_task

if TYPE_CHECKING:
    from wmplan.envs.physics import Physics

TABLE_WIDTH = 0.512
POSITION_TOLERANCE = 20 / 512 * TABLE_WIDTH
ANGLE_TOLERANCE = np.pi / 9

SYMMETRIES = {
    "flip_columns": {"frames": "flip_columns", "action": [[-1, 0], [0, 1]], "proprio": [[-1, 0], [0, 1]]},
    "flip_rows": {"frames": "flip_rows", "action": [[1, 0], [0, -1]], "proprio": [[1, 0], [0, -1]]},
    "half_turn": {"frames": "half_turn", "action": [[-1, 0], [0, -1]], "proprio": [[-1, 0], [0, -1]]},
}
BLOCK = ["block_x_m", "block_y_m"]
REGIONS = {
    "block within 5 cm": {"entries": BLOCK, "below": 0.05},
    "block beyond 15 cm": {"entries": BLOCK, "above": 0.15},
    "block beyond 20 cm": {"entries": BLOCK, "above": 0.20},
}
PLANNING = {
    "planner": {
        "name": "icem",
        "num_samples": 300,
        "num_iterations": 6,
        "num_elites": 20,
        "horizon": 5,
        "cold_start_samples": 2400,  # decides from which side the block is pushed
    },
    "objective": {
        "latent": {"weight": 1.0, "kind": "l2", "steps": "last", "whitened": True},
        "proprio": {"weight": 12.0, "steps": "last"},
    },
    "schedule": {"replan_every": 2, "arrival_step": 25, "min_horizon": 1},
}


@register_task(
    "pusht",
    id="wmplan.envs:wmplan/PushT-v0",
    symmetries=SYMMETRIES,
    regions=REGIONS,
    planning=PLANNING,
    max_episode_steps=300,
)
class PushT(Task):
    """Task state: pusher x, y, block x, y (its centre of mass), block angle. Action: pusher velocity."""

    xml = Path(__file__).parent / "pusht.xml"
    camera = "top"
    substeps = 10
    state_names = ("pusher_x_m", "pusher_y_m", "block_x_m", "block_y_m", "block_angle_rad")
    proprio_names = ("pusher_x_m", "pusher_y_m")
    proprio_low = np.full(2, -TABLE_WIDTH / 2)
    proprio_high = np.full(2, TABLE_WIDTH / 2)
    robot_bodies = ("pusher",)
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

    def perturb(self, physics: Physics, speed: float, rng: np.random.Generator) -> None:
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


# Scripted exploration: approach, push through, leave and wander, with noise and failures.

MODES = ("approach", "push", "leave", "wander", "pause")
NEXT = {  # what follows what, with its probability
    "approach": {"push": 0.9, "wander": 0.1},
    "push": {"push": 0.25, "leave": 0.3, "approach": 0.25, "wander": 0.1, "pause": 0.1},
    "leave": {"approach": 0.8, "wander": 0.2},
    "wander": {"approach": 0.9, "pause": 0.1},
    "pause": {"approach": 0.5, "push": 0.4, "leave": 0.1},
}
REACH = 0.2  # half the side of the square that the pusher keeps to


class PushExploration:
    """Drives the pusher from the task state; one object an episode."""

    def __init__(self, rng: np.random.Generator, speed: float) -> None:
        self.rng = rng
        self.max_speed = speed
        self.noise = np.zeros(2)
        self.enter("approach")

    def enter(self, mode: str) -> None:
        """Begin `mode`, with a fresh aim, speed and duration (in robot steps)."""
        rng = self.rng
        self.mode = mode
        durations: dict[str, Any] = {
            "approach": 25,
            "push": rng.integers(5, 25),
            "leave": rng.integers(3, 10),
            "wander": rng.integers(5, 15),
            "pause": rng.integers(2, 6),
        }
        self.steps_left = int(durations[mode])
        self.speed = self.max_speed * rng.uniform(0.4, 1.0)
        self.bearing = rng.uniform(-np.pi, np.pi)  # approach: the side of the block to start from
        self.aim = rng.normal(0.0, 0.035, size=2)  # push: where to push through, from the block's centre
        self.target = rng.uniform(-REACH, REACH, size=2)  # wander: where to
        self.heading: Array | None = None  # push: fixed when the push begins

    def __call__(self, state: Array) -> Array:
        """Pusher velocity (2,) in m/s for the task state (5,)."""
        if self.steps_left <= 0:
            names = list(NEXT[self.mode])
            self.enter(str(self.rng.choice(names, p=list(NEXT[self.mode].values()))))
        self.steps_left -= 1
        velocity = self.velocity(state[:2], state[2:4])
        self.noise = 0.8 * self.noise + self.rng.normal(0.0, 0.15 * self.max_speed, size=2)
        if self.mode != "pause":
            velocity = velocity + self.noise
        return np.clip(velocity, -self.max_speed, self.max_speed)

    def velocity(self, pusher: Array, block: Array) -> Array:
        """The mode's velocity, before noise."""
        if self.mode == "pause":
            return np.zeros(2)
        if self.mode == "wander":
            return self.towards(self.target - pusher)
        if self.mode == "leave":
            return self.towards(pusher - block + 1e-6)
        if self.mode == "push":
            if self.heading is None:
                self.heading = unit(block + self.aim - pusher)
                self.turn = self.rng.normal(0.0, 0.03)
            cos, sin = np.cos(self.turn), np.sin(self.turn)
            self.heading = np.array([[cos, -sin], [sin, cos]]) @ self.heading
            if np.abs(pusher + 0.03 * self.heading).max() > REACH + 0.03:
                self.steps_left = 0  # at the rim: no further push this way
            return self.speed * self.heading
        start = block + 0.09 * np.array([np.cos(self.bearing), np.sin(self.bearing)])
        start = np.clip(start, -REACH - 0.02, REACH + 0.02)
        if np.linalg.norm(start - pusher) < 0.015:
            self.steps_left = 0
        return self.towards(self.around(pusher, block, start) - pusher)

    def around(self, pusher: Array, block: Array, start: Array) -> Array:
        """The next point on a way from `pusher` to `start` that mostly keeps clear of the block."""
        way = start - pusher
        along = np.clip((block - pusher) @ way / max(float(way @ way), 1e-9), 0.0, 1.0)
        if np.linalg.norm(pusher + along * way - block) > 0.07 or along in (0.0, 1.0):
            return start
        out = pusher - block
        side = np.sign(out[0] * (start - block)[1] - out[1] * (start - block)[0]) or 1.0
        outwards = unit(out)
        return block + 0.1 * unit(outwards + side * np.array([-outwards[1], outwards[0]]))

    def towards(self, offset: Array) -> Array:
        """Velocity along `offset`, slower where one robot step (0.1 s) would overshoot."""
        return unit(offset) * min(self.speed, float(np.linalg.norm(offset)) / 0.1)


def unit(vector: Array) -> Array:
    """`vector` at length one; a null vector stays null."""
    return vector / max(float(np.linalg.norm(vector)), 1e-9)
