"""What a clip shows, as plain data: the setting that both worlds of a pair share, and each world's objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FRAMES = 40
"""Frames in a clip."""
FPS = 30
"""Frames a second."""
SUBSTEPS = 16
"""Physics steps in a frame."""
GRAVITY = 9.81

SHAPES = ("sphere", "box", "cylinder", "capsule")
FLUSH = ("sphere", "box")
"""Shapes that reach as far to the side as the sphere they meet others as: what touches a wall has one of these."""

Vector = tuple[float, float, float]
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Look:
    """How an object looks. All shapes are as tall as a sphere of the radius (m)."""

    shape: str
    radius: float
    colour: Colour
    visible: bool = True


@dataclass(frozen=True)
class Object:
    """An object with its place (m) and velocity (m/s) at one moment."""

    look: Look
    position: Vector
    velocity: Vector = (0.0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Screen:
    """A board that things pass behind; it touches nothing.

    Attributes:
        half_size: (half width, half height) in metres.
        path: its centre at each frame, (FRAMES, 3).
    """

    half_size: tuple[float, float]
    colour: Colour
    path: NDArray[np.float64]


@dataclass(frozen=True)
class Barrier:
    """A wall or a platform: a box that objects bounce off."""

    position: Vector
    half_size: Vector
    colour: Colour


@dataclass(frozen=True)
class View:
    """Camera and light.

    Attributes:
        eye, target: where the camera is and what it looks at, in metres.
        fovy: vertical field of view in degrees.
        light: direction in which the lamp shines.
        brightness: of the lamp, 0 to 1.
        floor, backdrop: colours.
    """

    eye: Vector
    target: Vector
    fovy: float
    light: Vector
    brightness: float
    floor: Colour
    backdrop: Colour


@dataclass(frozen=True)
class Setting:
    """What is the same in both worlds of a pair.

    Attributes:
        elastic: whether objects bounce off the floor without loss; if not, they slide on it.
        bystander: an object at rest that takes no part.
    """

    view: View
    elastic: bool
    screen: Screen | None = None
    barrier: Barrier | None = None
    bystander: Object | None = None


@dataclass(frozen=True)
class Fade:
    """A legal change of appearance: from frame `begin` on the light and the backdrop become others over some frames."""

    begin: int
    frames: int
    brightness: float
    backdrop: Colour


@dataclass(frozen=True)
class Draft:
    """A pair before it is simulated: two worlds as they are at the frame of the break.

    Attributes:
        severity: how far the two worlds are apart, in the property's own unit.
    """

    setting: Setting
    first: tuple[Object, ...]
    second: tuple[Object, ...]
    break_at: int
    severity: float
    fade: Fade
