"""The view of a MuJoCo model, drawn at any size; and that of a Gymnasium MuJoCo environment."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.offscreen import Offscreen, mujoco


class ModelCamera:
    """The view of a MuJoCo model at any size, without shadows, which cost most of a frame's time.

    What is drawn is where things are now; after a step MuJoCo's own poses are from before its last integration. The
    data that are drawn are left as they are.

    Args:
        model: of which no renderer has been made.
        camera: where it is seen from.
        option: what is drawn.
    """

    def __init__(self, model: mujoco.MjModel, camera: mujoco.MjvCamera, option: mujoco.MjvOption) -> None:
        self.model, self.camera, self.option = model, camera, option
        self.spec = mujoco.mjtState.mjSTATE_INTEGRATION
        model.vis.quality.shadowsize = model.vis.quality.offsamples = 0
        self.data = mujoco.MjData(model)
        self.state = np.empty(mujoco.mj_stateSize(model, self.spec))
        self.offscreen = Offscreen(model)

    def draw(self, data: mujoco.MjData, size: tuple[int, int]) -> NDArray[np.uint8]:
        """The frame of the present, uint8 (H, W, 3)."""
        mujoco.mj_getState(self.model, data, self.state, self.spec)
        mujoco.mj_setState(self.model, self.data, self.state, self.spec)
        for update in (mujoco.mj_kinematics, mujoco.mj_comPos, mujoco.mj_camlight, mujoco.mj_flex, mujoco.mj_tendon):
            update(self.model, self.data)
        return self.offscreen.render(self.data, self.camera, size, self.option)

    def close(self) -> None:
        """Free the renderers."""
        self.offscreen.close()


class MujocoCamera(ModelCamera):
    """The view of a Gymnasium MuJoCo environment, as its own renderer has it."""

    def __init__(self, env: Any) -> None:
        self.env = env
        option = mujoco.MjvOption()
        for flag, shown in getattr(env.mujoco_renderer, "_vopt", {}).items():
            option.flags[flag] = shown
        super().__init__(env.model, mujoco.MjvCamera(), option)
        self._look()

    def _look(self) -> None:
        """As MujocoRenderer sets its camera: a fixed or tracking one, or a free one around the middle of the model."""
        model, renderer, camera = self.model, self.env.mujoco_renderer, self.camera
        mujoco.mj_forward(model, self.data)  # in the model's reference configuration
        camera.lookat[:] = np.median(self.data.geom_xpos, axis=0)
        camera.distance = model.stat.extent
        for name, value in (renderer.default_cam_config or {}).items():
            if isinstance(value, np.ndarray | list | tuple):
                getattr(camera, name)[:] = value
            else:
                setattr(camera, name, value)
        if renderer.camera_id is not None and renderer.camera_id >= 0:
            camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, renderer.camera_id
        else:
            camera.type = mujoco.mjtCamera.mjCAMERA_FREE

    def render(self, size: tuple[int, int] | None) -> NDArray[np.uint8]:
        """The frame of the present, uint8 (H, W, 3)."""
        return self.draw(self.env.data, size or (self.env.height, self.env.width))
