"""One MuJoCo model and its state: stepping, saving, restoring and drawing it, nothing about tasks."""

from __future__ import annotations

import atexit
import weakref
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wmplan.errors import UserError
from wmplan.gl_backend import cannot_draw

try:
    import mujoco
except (AttributeError, ImportError, OSError, RuntimeError) as error:  # with it the GL library is loaded
    raise cannot_draw(error) from error

_drawing: weakref.WeakSet[Physics] = weakref.WeakSet()


def _close_all() -> None:
    """Free the renderers that nobody closed while the GL library can still do it."""
    for physics in list(_drawing):
        physics.close()


class Physics:
    """A MuJoCo model with its data and its offscreen renderers.

    The full state is mjSTATE_INTEGRATION (positions, velocities, controls, warm start, ...): restoring it and
    applying the same controls repeats a trajectory bit for bit.
    """

    def __init__(self, xml: Path) -> None:
        self.model = mujoco.MjModel.from_xml_path(str(xml))
        self.data = mujoco.MjData(self.model)
        self.state_size = mujoco.mj_stateSize(self.model, mujoco.mjtState.mjSTATE_INTEGRATION)
        self._renderers: dict[tuple[int, int], mujoco.Renderer] = {}
        self.reset()

    def reset(self) -> None:
        """Put the model into its reference configuration, at rest."""
        mujoco.mj_resetData(self.model, self.data)
        mujoco.mj_forward(self.model, self.data)

    def step(self, ctrl: NDArray[np.float64], substeps: int) -> None:
        """Hold `ctrl` (nu,) for `substeps` physics steps."""
        self.data.ctrl[:] = ctrl
        mujoco.mj_step(self.model, self.data, substeps)
        # mj_step leaves the poses from before its last integration; pictures are to show where things are now.
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    def forward(self) -> None:
        """Recompute everything that follows from positions, velocities and model parameters."""
        mujoco.mj_forward(self.model, self.data)

    def get_state(self) -> NDArray[np.float64]:
        """Full state, of shape (state_size,)."""
        state = np.empty(self.state_size)
        mujoco.mj_getState(self.model, self.data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        return state

    def set_state(self, state: NDArray[np.float64]) -> None:
        """Restore a full state, of shape (state_size,).

        Raises:
            ValueError: if the shape is another model's, or a number is not finite.
        """
        state = np.asarray(state, dtype=np.float64)
        if state.shape != (self.state_size,):
            raise UserError(f"state has shape {state.shape}, this model's is ({self.state_size},)")
        if not np.isfinite(state).all():
            raise UserError("state holds numbers that are not finite")
        mujoco.mj_setState(self.model, self.data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        # mj_forward overwrites the warm start, which bit-exact replay needs: compute on it, then put it back.
        warmstart = self.data.qacc_warmstart.copy()
        mujoco.mj_forward(self.model, self.data)
        self.data.qacc_warmstart[:] = warmstart

    def render(self, camera: str, height: int, width: int) -> NDArray[np.uint8]:
        """RGB picture of `camera`, of shape (height, width, 3)."""
        if (height, width) not in self._renderers:
            self._renderers[height, width] = self._make_renderer(height, width)
        renderer = self._renderers[height, width]
        renderer.update_scene(self.data, camera)
        return renderer.render()

    def _make_renderer(self, height: int, width: int) -> mujoco.Renderer:
        # A framebuffer of the picture's own size: any size fits, and no pixel is cleared in vain.
        buffer = self.model.vis.global_
        buffer.offheight, buffer.offwidth = height, width
        try:
            renderer = mujoco.Renderer(self.model, height, width)
        except Exception as error:
            raise cannot_draw(error, (height, width)) from error
        if not _drawing:  # with the first renderer MuJoCo arranges for GL to end at exit: this has to come before
            atexit.register(_close_all)
        _drawing.add(self)
        return renderer

    def close(self) -> None:
        """Free the renderers; drawing again makes new ones."""
        while self._renderers:
            self._renderers.popitem()[1].close()
