"""What moves goes on as it does: continuity, inertia and gravity."""

from __future__ import annotations

import numpy as np

from wmplan.envs.physics_exam.looks import (
    EDGE,
    random_bystander,
    random_fade,
    random_look,
    random_view,
    standing_screen,
)
from wmplan.envs.physics_exam.timing import random_break
from wmplan.envs.physics_exam.world import Draft, Object, Setting, Vector, View


def continuity(rng: np.random.Generator, occluded: bool) -> Draft:
    """An object is here, or some way ahead on the same path. Severity: that distance in metres."""
    view, look, direction = random_view(rng), random_look(rng), rng.choice([-1, 1])
    distance, speed, middle = rng.uniform(0.25, 0.8), rng.uniform(1.4, 2.1), rng.uniform(-0.1, 0.1)
    places = [(float(middle + side * direction * distance / 2), 0.0, look.radius) for side in (-1, 1)]
    velocity = (float(direction * speed), 0.0, 0.0)
    half = (distance / 2 + look.radius + EDGE, look.radius + EDGE)
    first, second = (Object(look, place, velocity) for place in places)
    return _draft(rng, occluded, view, first, second, (float(middle), 0.0, look.radius), half, float(distance))


def inertia(rng: np.random.Generator, occluded: bool) -> Draft:
    """Two ways of sliding through one point. Severity: the angle between them in degrees.

    Both keep within 30 degrees of the picture's plane, so that they pass behind the screen.
    """
    view, look, speed = random_view(rng), random_look(rng), rng.uniform(1.4, 2.0)
    steepest = np.pi / 6
    one = rng.uniform(-steepest, steepest)
    other = rng.uniform(-steepest, steepest)
    while abs(other - one) < np.radians(20):
        one, other = rng.uniform(-steepest, steepest, 2)
    if rng.integers(2):
        other += np.pi
    if rng.integers(2):
        one, other = one + np.pi, other + np.pi
    place = (float(rng.uniform(-0.15, 0.15)), 0.0, look.radius)
    first, second = (
        Object(look, place, (float(speed * np.cos(angle)), float(speed * np.sin(angle)), 0.0)) for angle in (one, other)
    )
    apart = np.degrees(np.abs((other - one + np.pi) % (2 * np.pi) - np.pi))
    half = (look.radius + EDGE, look.radius + EDGE)
    return _draft(rng, occluded, view, first, second, place, half, float(apart))


def gravity(rng: np.random.Generator, occluded: bool) -> Draft:
    """At one height an object turns round, or still rises fast. Severity: the speed of the latter there, in m/s.

    Both bounce on the floor: the first shoots up again from where it should fall, the second falls from where it
    should rise.
    """
    view, look = random_view(rng, tall=True), random_look(rng, radius=(0.2, 0.26))
    speed, drift = rng.uniform(2.2, 3.4), rng.uniform(-0.5, 0.5)
    place = (float(rng.uniform(-0.4, 0.4)), 0.0, float(rng.uniform(1.25, 1.5)))
    first = Object(look, place, (float(drift), 0.0, 0.0))
    second = Object(look, place, (float(drift), 0.0, float(speed)))
    half, cover = (look.radius + EDGE + 0.1, look.radius + EDGE), (place[0], place[1], place[2] - 0.08)
    return _draft(rng, occluded, view, first, second, cover, half, float(speed), elastic=True)


def _draft(
    rng: np.random.Generator,
    occluded: bool,
    view: View,
    first: Object,
    second: Object,
    place: Vector,
    half: tuple[float, float],
    severity: float,
    elastic: bool = False,
) -> Draft:
    break_at = random_break(rng)
    screen = standing_screen(rng, view, place, half) if occluded else None
    setting = Setting(view, elastic=elastic, screen=screen, bystander=random_bystander(rng))
    return Draft(setting, (first,), (second,), break_at, severity, random_fade(rng, view, break_at))
