"""Things that lie or move in the scene and are no part of the task: drawn, and unknown to the physics."""

from __future__ import annotations

import colorsys

import mujoco
import numpy as np
from numpy.typing import NDArray

Area = tuple[tuple[float, float], tuple[float, float]]

COUNT = 6
HEIGHT = 0.004  # metres that they stand above the plane z = 0: whatever the task moves hides them, not they it
DISTRACTORS = (
    # size_m (half a side, or the radius), speed_m_s, place as a share of the area's width and depth, heading_rad, hue
    np.tile([0.0, 0.0, 0.0, 0.0, -np.pi, 0.0], (COUNT, 1)),
    np.tile([0.025, 0.05, 1.0, 1.0, np.pi, 1.0], (COUNT, 1)),
)
"""Lowest and highest value, (COUNT, 6): a row a thing."""


class Distractors:
    """Flat discs and boxes that slide along straight lines, and turn back at the edges of an area.

    Where they are follows from the time of the simulation alone, so that a state gives them again.

    Args:
        things: (COUNT, 6), see DISTRACTORS.
        area: ((x low, x high), (y low, y high)) in metres.
    """

    def __init__(self, things: NDArray[np.float64], area: Area) -> None:
        self.things, (self._low, self._high) = things, np.array(area, np.float64).T

    def positions(self, time: float) -> NDArray[np.float64]:
        """Their centres x, y at `time` (s), (COUNT, 2) in metres."""
        _, speed, *place, heading, _ = self.things.T
        travelled = time * speed[:, None] * np.stack([np.cos(heading), np.sin(heading)], axis=-1)
        extent = self._high - self._low
        unfolded = np.stack(place, axis=-1) + travelled / extent
        return self._low + extent * (1 - np.abs(1 - unfolded % 2))  # a triangle wave: there and back

    def add_to(self, scene: mujoco.MjvScene, time: float) -> None:
        """Put them into a scene that is about to be drawn."""
        for index, (position, (size, *_, hue)) in enumerate(zip(self.positions(time), self.things, strict=True)):
            if size == 0 or scene.ngeom >= scene.maxgeom:
                continue
            disc = index % 2 == 0
            geom = scene.geoms[scene.ngeom]
            mujoco.mjv_initGeom(
                geom,
                mujoco.mjtGeom.mjGEOM_CYLINDER if disc else mujoco.mjtGeom.mjGEOM_BOX,
                np.array([size, HEIGHT / 2, 0] if disc else [size, size, HEIGHT / 2]),
                np.array([*position, HEIGHT / 2]),
                np.eye(3).ravel(),
                np.array([*colorsys.hsv_to_rgb(hue, 0.7, 0.8), 1], np.float32),
            )
            geom.specular = 0.0
            scene.ngeom += 1
