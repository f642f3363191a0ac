"""The view of a Gymnasium MuJoCo environment, drawn at any size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.offscreen import Offscreen, mujoco


class MujocoCamera:
    """The view of a Gymnasium MuJoCo environment at any size, without shadows, which cost most of a frame's time.

    What is drawn is where things are now; after a step MuJoCo's own poses are from before its last integration. The
    environment's data are left as they are.
    """

    def __init__(self, env: Any) -> None:
        self.env = env
        self.spec = mujoco.mjtState.mjSTATE_INTEGRATION
        env.model.vis.quality.shadowsize = env.model.vis.quality.offsamples = 0
        self.data = mujoco.MjData(env.model)
        self.state = np.empty(mujoco.mj_stateSize(env.model, self.spec))
        self.offscreen = Offscreen(env.model)
        self.camera, self.option = self._camera(), mujoco.MjvOption()
        for flag, shown in getattr(env.mujoco_renderer, "_vopt", {}).items():
            self.option.flags[flag] = shown

    def _camera(self) -> Any:
        """As MujocoRenderer sets its: a fixed or tracking one, or a free one around the middle of the model."""
        model, renderer = self.env.model, self.env.mujoco_renderer
        camera = mujoco.MjvCamera()
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
        return camera

    def render(self, size: tuple[int, int] | None) -> NDArray[np.uint8]:
        """The frame of the present, uint8 (H, W, 3)."""
        model = self.env.model
        mujoco.mj_getState(model, self.env.data, self.state, self.spec)
        mujoco.mj_setState(model, self.data, self.state, self.spec)
        for update in (mujoco.mj_kinematics, mujoco.mj_comPos, mujoco.mj_camlight, mujoco.mj_flex, mujoco.mj_tendon):
            update(model, self.data)
        return self.offscreen.render(self.data, self.camera, size or (self.env.height, self.env.width), self.option)

    def close(self) -> None:
        """Free the renderers."""
        self.offscreen.close()
