"""The reacher of dm_control: an arm of two joints in a plane, whose fingertip goes to a target."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wmplan.environment import Array, Policy
from wmplan.envs.suites.environment import SuiteTask
from wmplan.envs.suites.mujoco_environment import MujocoSuiteEnvironment
from wmplan.envs.suites.packages import DM_CONTROL
from wmplan.envs.suites.play import Play
from wmplan.envs.suites.recipes import planning, small_training
from wmplan.envs.task import wrap_angle
from wmplan.registry import register_task

if TYPE_CHECKING:
    from wmplan.gym.mujoco_camera import ModelCamera

ANGLES, SPEEDS, TIP = slice(0, 3), slice(3, 5), slice(5, 7)  # of a task state
HARD, EASY, FINGER = 0.015, 0.05, 0.01  # radii in metres: of the targets, and of the fingertip
LEWM = 0.05  # radians, of each joint
GAINS = np.array([[6.0, 1.5], [3.0, 0.5]])  # torque a radian and a radian a second, of shoulder and wrist

TRAINING = small_training(
    joint={"steps": 400, "batch_size": 48},
    predictor_options={"width": 256, "depth": 3},
    dynamics={"steps": 2000, "batch_size": 128},
    state_weight=5,
    # LeWorldModel's rule is 0.05 rad at each joint, and a head on the latent reads the wrist to 0.09.
    reader={"steps": 2000, "batch_size": 64},
    reader_options={"channels": [24, 48], "blocks": [1, 1], "hidden": 96},
)
PLANNING = planning(
    {"proprio": {"weight": 1.0, "steps": "sum", "weight_by": [1.0, 1.0, 1.0, 0.0, 0.0]}},
    {"replan_every": 5},
)


class ReacherTask(SuiteTask):
    """Task state: the joints' angles and speeds, all of which is proprioception, and the fingertip."""

    action_names = ("shoulder_torque", "wrist_torque")
    action_low, action_high = np.full(2, -1.0), np.full(2, 1.0)
    proprio_names = ("shoulder_cos", "shoulder_sin", "wrist_rad", "shoulder_rad_s", "wrist_rad_s")
    state_names = (*proprio_names, "fingertip_x_m", "fingertip_y_m")
    reported = ("easy", "lewm")

    def rules(self, state: Array, goal: Array) -> dict[str, NDArray[np.bool_]]:
        """The fingertip touches a target of the suite's size, hard or easy, where the goal has the fingertip.

        LeWorldModel's: each joint is within 0.05 rad of the goal's (stable-worldmodel, ReacherQPosMatchTask).
        """
        metres = np.linalg.norm(state[..., TIP] - goal[..., TIP], axis=-1)
        shoulder, wrist = (np.abs(wrap_angle(_angles(state)[i] - _angles(goal)[i])) for i in (0, 1))
        joints = (shoulder < LEWM) & (wrist < LEWM)
        return {"hard": metres <= HARD + FINGER, "easy": metres <= EASY + FINGER, "lewm": joints}

    def distance(self, state: Array, goal: Array) -> Array:
        return np.asarray(np.linalg.norm(state[..., TIP] - goal[..., TIP], axis=-1)) / (HARD + FINGER)


def _angles(state: Array) -> tuple[Array, Array]:
    """Of shoulder and wrist, each (...)."""
    return np.arctan2(state[..., 1], state[..., 0]), state[..., 2]


@register_task(
    "reacher",
    id="wmplan.envs:wmplan/DMReacher-v0",
    training=TRAINING,
    planning=PLANNING,
    suite=DM_CONTROL,
    max_episode_steps=1000,
)
class Reacher(MujocoSuiteEnvironment):
    """The task `hard` of the suite, 50 robot steps a second. Its success: the fingertip touches a target of 1.5 cm.

    Its model is the suite's own; starts, targets, steps and success are as its code has them, which itself does not run
    on every MuJoCo.
    """

    suite = DM_CONTROL
    task = ReacherTask()
    control_rate = 50.0
    expert_steps = 150

    def __init__(self, image_size: Any = 64, render_mode: str | None = "rgb_array") -> None:
        spec = importlib.util.find_spec("dm_control")  # importing it takes seconds, and its file is all that is needed
        if spec is None or not spec.submodule_search_locations:
            self.suite.require()
        assert spec is not None and spec.submodule_search_locations is not None
        import mujoco

        from wmplan.envs.suites.mujoco_suite import SuiteState

        super().__init__(image_size, render_mode)
        path = Path(next(iter(spec.submodule_search_locations))) / "suite" / "reacher.xml"
        self.mujoco = mujoco
        self.model: Any = mujoco.MjModel.from_xml_path(str(path))
        self.data: Any = mujoco.MjData(self.model)
        self.target, self.finger = self.model.geom("target").pos, self.data.geom("finger").xpos
        self.links = float(self.model.body("hand").pos[0]), float(self.model.body("finger").pos[0])
        self.wrist_range = self.model.joint("wrist").range.copy()
        self.full = SuiteState(self.model, self.data, arrays=[self.target])

    def start(self, rng: np.random.Generator) -> None:
        self.mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:] = rng.uniform(-np.pi, np.pi), rng.uniform(*self.wrist_range)
        self.target[:2] = self._random_target(rng)
        self.full.set(self.full.get())

    def _random_target(self, rng: np.random.Generator) -> Array:
        angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.20)
        return radius * np.array([np.sin(angle), np.cos(angle)])

    def advance(self, action: Array) -> None:
        self.data.ctrl[:] = action
        self.mujoco.mj_step(self.model, self.data)
        self.mujoco.mj_kinematics(self.model, self.data)  # where the fingertip is now

    def task_state(self) -> Array:
        shoulder, wrist = self.data.qpos
        return np.concatenate([[np.cos(shoulder), np.sin(shoulder), wrist], self.data.qvel, self.finger[:2]])

    @property
    def succeeded(self) -> bool:
        return bool(np.linalg.norm(self.target[:2] - self.finger[:2]) <= HARD + FINGER)

    def reach_own_goal(self) -> None:
        """At rest with the fingertip on the target, by the shorter of two ways."""
        self.data.qpos[:], self.data.qvel[:] = self.joints_at(self.target[:2], self.task_state()), 0
        self.full.set(self.full.get())

    def joints_at(self, place: Array, state: Array) -> Array:
        """Joint angles (2,) with the fingertip at a place (2,), the nearer of the two ways, without limits' heed.

        The law of cosines over both links.
        """
        upper, lower = self.links
        far = np.clip(np.linalg.norm(place), abs(upper - lower), upper + lower)
        bend = np.arccos(np.clip((far**2 - upper**2 - lower**2) / (2 * upper * lower), -1, 1))
        now, ways = np.array([np.arctan2(state[1], state[0]), state[2]]), []
        for wrist in (bend, -bend):
            inner = np.arctan2(lower * np.sin(wrist), upper + lower * np.cos(wrist))
            ways.append(np.array([np.arctan2(place[1], place[0]) - inner, wrist]))
        return min(ways, key=lambda way: float(np.abs(wrap_angle(way - now)).sum()))

    def with_other_goal(self, state: Array) -> Array:
        other = state.copy()
        other[-3] += 0.05
        return other

    def make_camera(self) -> ModelCamera:
        from wmplan.envs.suites.mujoco_suite import fast_camera, fixed_camera

        self.model.geom_rgba[self.model.geom("target").id, 3] = 0
        self.model.mat_rgba[self.model.mat("target").id, 3] = 0
        return fast_camera(self.model, fixed_camera(self.model, "fixed"))

    # ------------------------------------------------------------------ policies

    def _go(self, joints: Array) -> Policy:
        """Torques that bring the joints to angles (2,) and hold them there."""

        def act(state: Array) -> Array:
            now = np.array([np.arctan2(state[1], state[0]), state[2]])
            off = np.array([wrap_angle(joints[0] - now[0]), joints[1] - now[1]])
            return np.clip(GAINS[:, 0] * off - GAINS[:, 1] * state[SPEEDS], -1, 1)

        return act

    def expert_policy(self, rng: np.random.Generator) -> Policy:
        """To the suite's own target; of this adapter, the suite has none."""
        return self._go(self.joints_at(self.target[:2], self.task_state()))

    def exploration_policy(self, rng: np.random.Generator) -> Policy:
        """Goes to places and to poses at several paces, pushes with random torques, and coasts."""

        def go(state: Array) -> Policy:
            pose = np.array([rng.uniform(-np.pi, np.pi), rng.uniform(*self.wrist_range)])
            joints = pose if rng.random() < 0.5 else self.joints_at(self._random_target(rng), state)
            way, pace = self._go(joints), rng.choice([0.3, 0.6, 1.0])
            return lambda state: pace * way(state)

        def push(state: Array) -> Policy:
            torque = rng.uniform(-1, 1, 2)
            return lambda state: torque

        def coast(state: Array) -> Policy:
            return lambda state: np.zeros(2)

        return Play(
            rng,
            {"go": go, "push": push, "coast": coast},
            {
                "": {"go": 0.7, "push": 0.3},
                "go": {"go": 0.6, "push": 0.3, "coast": 0.1},
                "push": {"go": 0.5, "push": 0.3, "coast": 0.2},
                "coast": {"go": 0.6, "push": 0.4},
            },
            {"go": 60, "push": 15, "coast": 15},
            self.task.action_low,
            self.task.action_high,
            steady=("coast",),
        )
