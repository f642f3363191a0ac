"""One MuJoCo model and its state: stepping, saving, restoring and drawing it, nothing about tasks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wmplan.errors import UserError
from wmplan.offscreen import Offscreen, mujoco


class Physics:
    """A MuJoCo model with its data and its offscreen renderers.

    The full state is mjSTATE_INTEGRATION (positions, velocities, controls, warm start, ...): restoring it and
    applying the same controls repeats a trajectory bit for bit.
    """

    def __init__(self, xml: Path) -> None:
        self.model = mujoco.MjModel.from_xml_path(str(xml))
        self.data = mujoco.MjData(self.model)
        self.state_size = mujoco.mj_stateSize(self.model, mujoco.mjtState.mjSTATE_INTEGRATION)
        self.offscreen = Offscreen(self.model)
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

    def render(
        self, camera: str, height: int, width: int, add: Callable[[mujoco.MjvScene], None] | None = None
    ) -> NDArray[np.uint8]:
        """RGB picture of `camera`, of shape (height, width, 3); `add` may put geoms into the scene before."""
        return self.offscreen.render(self.data, camera, (height, width), add=add)

    @contextlib.contextmanager
    def hidden(self, bodies: Sequence[str]) -> Iterator[None]:
        """Bodies of these names are not drawn."""
        geoms = np.isin(self.model.geom_bodyid, [self.model.body(name).id for name in bodies])
        colours = self.model.geom_rgba[geoms].copy()
        self.model.geom_rgba[geoms] = 0.0  # MuJoCo leaves out what is fully transparent
        try:
            yield
        finally:
            self.model.geom_rgba[geoms] = colours

    def close(self) -> None:
        """Free the renderers; drawing again makes new ones."""
        self.offscreen.close()
