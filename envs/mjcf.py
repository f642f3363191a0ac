"""A task from an MJCF alone: what it does not say itself is read off the model. Two class attributes are enough."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from wmplan.envs.task import Array, Task, wrap_angle
from wmplan.errors import UserError

if TYPE_CHECKING:
    from wmplan.envs.physics import Physics


class MJCFTask(Task):
    """A robot with a named camera and actuators that have a ctrlrange.

    Actions are the actuators' controls, the task state is the joint positions, and the robot knows those of its
    actuated joints. A start puts every limited joint anywhere in its range; the goal is reached where every joint is
    within `tolerance` of the goal's. Override place_random(), task_state() with state_names, proprio() with
    proprio_names, or distance().
    """

    xml: ClassVar[Path]
    camera: ClassVar[str]
    rate: ClassVar[float] = 10.0
    """Robot steps a second; physics steps of the MJCF's timestep fill each."""
    tolerance: ClassVar[float] = 0.1
    """How near every joint has to come to the goal's, in rad or m."""

    def __init__(self) -> None:
        import mujoco

        self.model = model = mujoco.MjModel.from_xml_path(str(self.xml))
        camera = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, self.camera)
        _require(camera >= 0, f"{self.xml} has no camera {self.camera!r}")
        _require(model.nu > 0, f"{self.xml} has no actuator")
        unbounded = int((model.actuator_ctrllimited == 0).sum())
        _require(not unbounded, f"{self.xml}: every actuator must have a ctrlrange, {unbounded} have none")
        self.substeps = max(1, round(1 / (self.rate * model.opt.timestep)))  # type: ignore[misc]  # of this model
        self.action_low, self.action_high = model.actuator_ctrlrange.T.copy()  # type: ignore[misc]
        self._name("action_names", [model.actuator(i).name or f"actuator_{i}" for i in range(model.nu)])
        self.is_angle = np.zeros(model.nq, bool)
        self.low, self.high = np.full(model.nq, -np.inf), np.full(model.nq, np.inf)
        names = [f"qpos_{i}" for i in range(model.nq)]
        for joint, place, kind in self._joints():
            names[place] = joint.name or names[place]
            self.is_angle[place] = kind == int(mujoco.mjtJoint.mjJNT_HINGE)
            if model.jnt_limited[joint.id]:
                self.low[place], self.high[place] = joint.range
        self._name("state_names", names)
        moved = model.actuator_trnid[model.actuator_trntype == int(mujoco.mjtTrn.mjTRN_JOINT), 0]
        places = {place for joint, place, _ in self._joints() if joint.id in moved}
        self.own = np.array(sorted(places), np.int64)
        if "proprio_names" not in vars(type(self)):
            self.proprio_names = tuple(names[place] for place in self.own)  # type: ignore[misc]
            self.proprio_low = self.low[self.own] - 0.5  # type: ignore[misc]
            self.proprio_high = self.high[self.own] + 0.5  # type: ignore[misc]

    def _name(self, attribute: str, names: list[str]) -> None:
        """Set names that the class does not say."""
        if attribute not in vars(type(self)):
            setattr(self, attribute, tuple(names))

    def _joints(self) -> Iterator[tuple[Any, int, int]]:
        """Every joint of one position, its place among these, and its type."""
        for index in range(self.model.njnt):
            if int(self.model.jnt_type[index]) >= 2:  # slide and hinge, not free and ball
                yield self.model.joint(index), int(self.model.jnt_qposadr[index]), int(self.model.jnt_type[index])

    def controls(self, ctrl: Array, actions: Array) -> Array:
        return np.clip(actions, self.action_low, self.action_high)

    def task_state(self, qpos: Array) -> Array:
        return np.array(qpos)

    def proprio(self, task_state: Array) -> Array:
        return task_state[..., self.own]

    def place_random(self, physics: Physics, rng: np.random.Generator) -> None:
        """Put every limited joint anywhere in its range, an unlimited hinge anywhere; the rest as in the MJCF."""
        physics.reset()
        low = np.where(self.is_angle & ~np.isfinite(self.low), -np.pi, self.low)
        high = np.where(self.is_angle & ~np.isfinite(self.high), np.pi, self.high)
        for place in np.flatnonzero(np.isfinite(low)):
            physics.data.qpos[place] = rng.uniform(low[place], high[place])
        physics.forward()

    def rules(self, state: Array, goal: Array) -> dict[str, NDArray[np.bool_]]:
        return {"there": self.distance(state, goal) <= 1}

    def distance(self, state: Array, goal: Array) -> Array:
        """The joint farthest from the goal's, in units of the tolerance."""
        away = np.asarray(state) - goal
        away = np.where(self.is_angle & ~np.isfinite(self.low), wrap_angle(away), away)
        return np.abs(away).max(-1) / self.tolerance


def _require(holds: bool, fault: str) -> None:
    if not holds:
        raise UserError(fault)
