"""MuJoCo's renderers without a window, one a size, freed in time."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.gl_backend import cannot_draw

try:
    import mujoco
except (AttributeError, ImportError, OSError, RuntimeError) as error:  # with it the GL library is loaded
    raise cannot_draw(error) from error

_drawing: weakref.WeakSet[Offscreen] = weakref.WeakSet()


def _close_all() -> None:
    """Free the renderers that nobody closed while the GL library can still do it."""
    for one in list(_drawing):
        one.close()


class Offscreen:
    """Draws one model at any size."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.model = model
        self._renderers: dict[tuple[int, int], mujoco.Renderer] = {}

    def render(
        self,
        data: mujoco.MjData,
        camera: str | int | mujoco.MjvCamera,
        size: tuple[int, int],
        option: Any = None,
        add: Callable[[mujoco.MjvScene], None] | None = None,
    ) -> NDArray[np.uint8]:
        """RGB picture of `camera`, of shape (*size, 3); `add` may put geoms into the scene before it is drawn."""
        if size not in self._renderers:
            self._renderers[size] = self._make_renderer(*size)
        renderer = self._renderers[size]
        renderer.update_scene(data, camera, option)
        if add is not None:
            add(renderer.scene)
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
