"""Random looks: cameras, lights, colours, shapes, screens."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np

from wmplan.envs.physics_exam.world import FPS, FRAMES, SHAPES, Colour, Fade, Look, Object, Screen, Vector, View

SCREEN_DEPTH = -0.8
"""y of screens, in metres: objects pass at about 0, behind them."""
EDGE = 0.13
"""Metres that a screen covers beyond an object's radius: cameras see objects from an angle."""
LIFT = 3.0
"""Metres above its place at which a screen that comes down is out of sight."""


def random_view(rng: np.random.Generator, tall: bool = False) -> View:
    """A camera in front of the scene, anywhere in a box; light, floor and backdrop.

    Args:
        tall: whether it sees 3.2 m of the scene for what flies, not 2.7 m for what slides on the floor.
    """
    eye = (rng.uniform(-1.0, 1.0), rng.uniform(-6.3, -5.7), rng.uniform(1.3, 2.4))
    target = (rng.uniform(-0.08, 0.08), 0.0, rng.uniform(1.15, 1.25) if tall else rng.uniform(0.5, 0.8))
    floor, backdrop = rng.uniform(0, 1, 2)
    return View(
        eye=eye,
        target=target,
        fovy=rng.uniform(29.5, 31.5) if tall else rng.uniform(24.5, 26.5),
        light=(rng.uniform(-1, 1), 1.0, rng.uniform(-1.5, -0.5)),
        brightness=rng.uniform(0.45, 0.75),
        floor=hsv(floor, rng.uniform(0.05, 0.3), rng.uniform(0.45, 0.7)),
        backdrop=hsv(backdrop, rng.uniform(0.05, 0.3), rng.uniform(0.7, 0.95)),
    )


def random_fade(rng: np.random.Generator, view: View, begin: int) -> Fade:
    """Another light and another backdrop, over a third of a second or so."""
    brightness = view.brightness + (0.25 if view.brightness < 0.6 else -0.25) * rng.uniform(0.7, 1.2)
    return Fade(begin, int(rng.integers(6, 12)), brightness, hsv(rng.uniform(), rng.uniform(0.1, 0.35), 0.8))


def random_look(
    rng: np.random.Generator, shapes: Sequence[str] = SHAPES, radius: tuple[float, float] = (0.2, 0.28)
) -> Look:
    """A shape in a strong colour."""
    return Look(str(rng.choice(list(shapes))), float(rng.uniform(*radius)), random_colour(rng))


def random_colour(rng: np.random.Generator) -> Colour:
    return hsv(rng.uniform(), rng.uniform(0.75, 0.95), rng.uniform(0.7, 0.95))


def random_bystander(rng: np.random.Generator) -> Object | None:
    """In half of the scenes, something at rest at the back."""
    if rng.uniform() < 0.5:
        return None
    look = random_look(rng)
    return Object(look, (float(rng.uniform(-1.4, 1.4)), 1.3, look.radius))


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """Red, green and blue from 0 to 1."""
    return colorsys.hsv_to_rgb(hue % 1.0, saturation, value)


# ------------------------------------------------------------------ screens


def standing_screen(rng: np.random.Generator, view: View, place: Vector, half_size: tuple[float, float]) -> Screen:
    """A screen that stays, before `place` in the camera's view, covering half_size (m) of the plane there."""
    centre, scale = _before(view, place)
    path = np.tile(centre, (FRAMES, 1))
    return Screen((half_size[0] * scale, half_size[1] * scale), _screen_colour(rng), path)


def passing_screen(
    rng: np.random.Generator, view: View, place: Vector, half_size: tuple[float, float], covers: tuple[int, int]
) -> Screen:
    """A screen that comes down before `place`, covers it from frame covers[0] to covers[1], and goes up again."""
    centre, scale = _before(view, place)
    speed = rng.uniform(9.0, 12.0) / FPS  # metres a frame
    steps = np.arange(FRAMES)
    away = np.maximum(np.maximum(covers[0] - steps, steps - covers[1]), 0)
    path = np.tile(centre, (FRAMES, 1))
    path[:, 2] += np.minimum(away * speed, LIFT)
    return Screen((half_size[0] * scale, half_size[1] * scale), _screen_colour(rng), path)


def _screen_colour(rng: np.random.Generator) -> Colour:
    return hsv(rng.uniform(), rng.uniform(0.3, 0.6), rng.uniform(0.3, 0.5))


def _before(view: View, place: Vector) -> tuple[np.ndarray, float]:
    """Where the line from the camera to `place` meets the plane of screens, and how much smaller things look alike."""
    eye, end = np.array(view.eye), np.array(place)
    share = (SCREEN_DEPTH - eye[1]) / (end[1] - eye[1])
    return eye + share * (end - eye), float(share)
