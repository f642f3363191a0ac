"""TwoRoom of stable-worldmodel: a dot goes from one room to another, through the one door in the wall between them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.environment import Array, Policy
from wmplan.envs.suites.bare_import import import_bare
from wmplan.envs.suites.environment import SuiteEnvironment, SuiteTask, checked_state
from wmplan.envs.suites.packages import STABLE_WORLDMODEL
from wmplan.envs.suites.play import Play
from wmplan.envs.suites.recipes import planning, small_training
from wmplan.envs.suites.smaller_picture import smaller_picture
from wmplan.registry import register_task

MODULES = ("stable_worldmodel.utils", "stable_worldmodel.spaces", "stable_worldmodel.envs.two_room.env")
STEP = 5.0  # pixels that an action of 1 goes
TOLERANCE = 16.0  # pixels of a picture of 224 x 224, the suite's own
AT_DOOR = 10.5  # pixels from the door's middle from which the way goes on to the goal
TRAINING = small_training(
    action_block=10,  # 50 pixels: eight of them go from any place to any other
    joint={"steps": 500, "batch_size": 48},
    dynamics={"steps": 2000, "batch_size": 128},
)
PLANNING = planning(
    {"proprio": {"weight": 1.0, "steps": "discounted"}},  # of "last" alone a plan puts off arriving
    {"replan_every": 10, "min_horizon": 2},
    horizon=8,
    num_samples=256,
    num_iterations=6,
    num_elites=20,
    parameterization="spline-linear",
    knot_spacing=10,
)
FAR = 45.0  # pixels from the dot at which it changes no colour by as much as float32 can tell


class TwoRoomTask(SuiteTask):
    """Task state: place of the dot, all of which is its proprioception. Action: its step, 1 being 5 pixels."""

    action_names = ("step_x", "step_y")
    action_low, action_high = np.full(2, -1.0), np.full(2, 1.0)
    state_names = ("dot_x_px", "dot_y_px")
    proprio_names = state_names

    def rules(self, state: Array, goal: Array) -> dict[str, NDArray[np.bool_]]:
        """Within 16 pixels, as the suite has it."""
        return {"place": self.distance(state, goal) < 1}

    def distance(self, state: Array, goal: Array) -> Array:
        return np.asarray(np.linalg.norm(state - goal, axis=-1)) / TOLERANCE


def straight(place: Array, target: Array) -> Array:
    """A step (2,) of length 1 at most straight to a target."""
    offset = (target - place) / STEP
    return np.asarray(offset / max(1.0, float(np.linalg.norm(offset))))


def through_door(place: Array, target: Array, door: Array) -> Array:
    """A step (2,) of length 1 at most on the way to a target, by the door (2,) if it is behind the wall."""
    behind = (place[0] > door[0]) != (target[0] > door[0])
    return straight(place, door if behind and np.linalg.norm(door - place) > AT_DOOR else target)


@register_task(
    "swm_tworoom",
    id="wmplan.envs:wmplan/SwmTwoRoom-v0",
    training=TRAINING,
    planning=PLANNING,
    suite=STABLE_WORLDMODEL,
    max_episode_steps=200,
)
class SwmTwoRoom(SuiteEnvironment):
    """TwoRoom, 10 robot steps a second. The suite's success: the dot within 16 pixels of its goal, of 224."""

    suite = STABLE_WORLDMODEL
    task = TwoRoomTask()
    control_rate = 10.0
    expert_steps = 120
    world_id = "swm/TwoRoom-v1"

    def __init__(self, image_size: Any = 64, render_mode: str | None = "rgb_array") -> None:
        module = import_bare(self.suite, MODULES)[-1]
        super().__init__(image_size, render_mode)
        self.inner: Any = module.TwoRoomEnv()
        self.inner.reset(seed=0)
        self.door = np.array([float(self.inner.wall_pos), float(self.inner.door_positions[0])])
        self._rooms: NDArray[np.uint8] | None = None

    def start(self, rng: np.random.Generator) -> None:
        self.inner.reset(seed=int(rng.integers(2**31)))

    def advance(self, action: Array) -> None:
        self.inner.step(action)

    def task_state(self) -> Array:
        return np.asarray(self.inner.agent_position.numpy(), np.float64)

    @property
    def succeeded(self) -> bool:
        return bool(np.linalg.norm(self.task_state() - self.get_state()[2:]) < TOLERANCE)

    def reach_own_goal(self) -> None:
        self.inner._set_state(self.get_state()[2:])

    def with_other_goal(self, state: Array) -> Array:
        return np.append(state[:2], 224 - state[2:])

    def get_state(self) -> Array:
        return np.concatenate([self.task_state(), np.asarray(self.inner.target_position.numpy(), np.float64)])

    def set_state(self, state: Array) -> None:
        state = checked_state(state, 4)
        self.inner._set_state(state[:2].astype(np.float32))
        self.inner.target_position = self.inner.agent_position.new_tensor(state[2:])

    def world_state(self) -> Array:
        """The present state as the suite's World has it, (2,)."""
        return self.task_state()

    def from_world(self, states: Array) -> Array:
        """Task states (..., 2) of such states."""
        return states

    def render(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:  # type: ignore[override]
        return smaller_picture(self._picture(), size or self.image_size)

    def _picture(self) -> NDArray[np.uint8]:
        """As the suite draws it, to the bit; only where the dot is it is drawn anew."""
        import torch

        if self._rooms is None:
            nowhere = torch.full((2,), -1e4)
            self._rooms = self.inner._render_frame(nowhere).numpy().transpose(1, 2, 0)
        side = self.inner.IMG_SIZE
        (x0, y0), (x1, y1) = (np.clip(self.task_state() + sign * FAR, 0, side).astype(int) for sign in (-1, 1))
        place = self.inner.agent_position
        offset = self.inner.grid_x[y0:y1, x0:x1] - float(place[0]), self.inner.grid_y[y0:y1, x0:x1] - float(place[1])
        radius = float(self.inner.variation_space["agent"]["radius"].value.item())
        dot = torch.exp(-(offset[0] * offset[0] + offset[1] * offset[1]) / (2.0 * radius * radius))
        colour = self.inner.variation_space["agent"]["color"].value
        picture = self._rooms.copy()
        part = torch.from_numpy(picture[y0:y1, x0:x1].transpose(2, 0, 1).copy())
        picture[y0:y1, x0:x1] = self.inner._alpha_blend(part, dot / dot.max(), colour).numpy().transpose(1, 2, 0)
        return picture

    # ------------------------------------------------------------------ policies

    def expert_policy(self, rng: np.random.Generator) -> Policy:
        """To the suite's own goal, through the door if it is behind the wall."""
        target = self.get_state()[2:]
        return lambda state: through_door(state, target, self.door)

    def exploration_policy(self, rng: np.random.Generator) -> Policy:
        """Goes to random places in both rooms and through the door, goes in a direction wherever that leads, and rests.

        With noise, of which there is much in the suite's own data, too.
        """
        low, high = 21.0, 203.0  # where the dot can be

        def go(state: Array) -> Policy:
            target, pace = rng.uniform(low, high, 2), rng.choice([0.4, 0.7, 1.0])
            return lambda state: pace * through_door(state, target, self.door)

        def push(state: Array) -> Policy:
            step = rng.uniform(-1, 1, 2)
            return lambda state: step

        def cross(state: Array) -> Policy:
            """To the door or just beside it, and straight on."""
            other = np.sign(self.door[0] - state[0]) or 1.0
            at = self.door + [0.0, rng.normal(0.0, 12.0)]
            before, behind = at - [30.0 * other, 0.0], at + [40.0 * other, 0.0]

            def act(state: Array) -> Array:
                return straight(state, behind if abs(state[1] - at[1]) < 4 else before)

            return act

        def rest(state: Array) -> Policy:
            return lambda state: np.zeros(2)

        return Play(
            rng,
            {"go": go, "push": push, "cross": cross, "rest": rest},
            {
                "": {"go": 0.5, "push": 0.2, "cross": 0.3},
                "go": {"go": 0.4, "push": 0.25, "cross": 0.3, "rest": 0.05},
                "push": {"go": 0.4, "push": 0.25, "cross": 0.3, "rest": 0.05},
                "cross": {"go": 0.5, "push": 0.3, "cross": 0.2},
                "rest": {"go": 0.5, "push": 0.2, "cross": 0.3},
            },
            {"go": 50, "push": 20, "cross": 40, "rest": 5},
            self.task.action_low,
            self.task.action_high,
            steady=("rest",),
            rough=(0.0, 0.2, 0.5, 1.0),
        )
