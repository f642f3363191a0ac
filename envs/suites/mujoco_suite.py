"""The MuJoCo part of a suite's task: its whole state as numbers, and fast frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.environment import Array
from wmplan.envs.suites.environment import checked_state
from wmplan.envs.suites.mesh_thinning import thin_meshes
from wmplan.gym.mujoco_camera import ModelCamera
from wmplan.offscreen import mujoco


class SuiteState:
    """Everything that decides what comes next, as one row of numbers.

    mjSTATE_INTEGRATION (with mocap bodies, controls and the solver's warm start); what a reset changes of the model;
    numbers that the suite's Python objects keep; and the kinematics, where the suite reads them before they are fresh.

    Args:
        arrays: views of the model's arrays, written in place.
        numbers: (owner, name) of attributes that are numbers or arrays of a fixed shape.
        kinematics: views of arrays of the data, of what the suite's Python code reads after a physics step, when poses
            are from before it.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        *,
        arrays: Sequence[NDArray[Any]] = (),
        numbers: Sequence[tuple[Any, str]] = (),
        kinematics: Sequence[NDArray[Any]] = (),
    ) -> None:
        self.model, self.data = model, data
        self.arrays, self.numbers, self.kinematics = list(arrays), list(numbers), list(kinematics)
        self.spec = mujoco.mjtState.mjSTATE_INTEGRATION
        self.integration = mujoco.mj_stateSize(model, self.spec)

    def get(self) -> Array:
        """The state (N,)."""
        state = np.empty(self.integration)
        mujoco.mj_getState(self.model, self.data, state, self.spec)
        values = [*self.arrays, *self.kinematics, *(getattr(owner, name) for owner, name in self.numbers)]
        return np.concatenate([state, *(np.asarray(value, np.float64).ravel() for value in values)])

    def set(self, state: Array) -> None:
        """Restore a state (N,).

        Raises:
            UserError: if it is of another task, or of another version of the suite.
        """
        state = checked_state(state, len(self.get()), "the suite or MuJoCo")
        integration, rest = state[: self.integration], state[self.integration :]
        for array in self.arrays:
            rest = _fill(array, rest)
        mujoco.mj_setState(self.model, self.data, integration, self.spec)
        mujoco.mj_forward(self.model, self.data)
        mujoco.mj_setState(self.model, self.data, integration, self.spec)  # the warm start, which mj_forward overwrites
        for array in self.kinematics:
            rest = _fill(array, rest)
        for owner, name in self.numbers:
            like = np.asarray(getattr(owner, name))
            value, rest = rest[: like.size].reshape(like.shape).astype(like.dtype), rest[like.size :]
            setattr(owner, name, value if like.ndim else value.item())


def _fill(array: NDArray[Any], values: Array) -> Array:
    """Write the first of the values into the array, in place; those that are left over."""
    array[...] = values[: array.size].reshape(array.shape)
    return values[array.size :]


def free_camera(lookat: Sequence[float], distance: float, azimuth: float, elevation: float) -> mujoco.MjvCamera:
    """A camera that looks at a point (x, y, z) from a distance in metres; angles are in degrees, as MuJoCo's."""
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FREE
    camera.lookat[:], camera.distance, camera.azimuth, camera.elevation = lookat, distance, azimuth, elevation
    return camera


def fixed_camera(model: mujoco.MjModel, name: str) -> mujoco.MjvCamera:
    """A camera of the model's own."""
    camera = mujoco.MjvCamera()
    camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, model.camera(name).id
    return camera


def fast_camera(
    model: mujoco.MjModel, camera: mujoco.MjvCamera, *, cell: float | None = None, sites: bool = False
) -> ModelCamera:
    """Fast frames of the camera: no shadows, no anti-aliasing, no reflections, meshes with fewer faces.

    Args:
        cell: side in metres of the cells that vertices of meshes are merged in; None leaves meshes as they are.
        sites: whether markers are drawn. They show the suite's own goal, which a frame must not tell.
    """
    model.mat_reflectance[:] = 0
    if cell is not None:
        thin_meshes(model, cell)
    option = mujoco.MjvOption()
    option.sitegroup[:] = sites
    return ModelCamera(model, camera, option)
