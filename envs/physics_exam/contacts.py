"""What meets bounces off: solidity, support and collision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wmplan.envs.physics_exam.looks import (
    EDGE,
    passing_screen,
    random_bystander,
    random_colour,
    random_fade,
    random_look,
    random_view,
    standing_screen,
)
from wmplan.envs.physics_exam.timing import random_break
from wmplan.envs.physics_exam.world import FLUSH, Barrier, Draft, Object, Screen, Setting, View


def solidity(rng: np.random.Generator, occluded: bool) -> Draft:
    """A ball meets a wall from the left, or from the right. Severity: the wall's thickness in metres."""
    view, look = random_view(rng), random_look(rng, FLUSH, radius=(0.16, 0.24))
    half, speed, middle = rng.uniform(0.03, 0.12), rng.uniform(1.5, 2.2), float(rng.uniform(-0.15, 0.15))
    tall = float(rng.uniform(0.65, 0.85))
    wall = Barrier((middle, 0.0, tall), (float(half), 0.35, tall), random_colour(rng))
    reach = float(half + look.radius)
    first = Object(look, (middle - reach, 0.0, look.radius), (float(speed), 0.0, 0.0))
    second = Object(look, (middle + reach, 0.0, look.radius), (float(-speed), 0.0, 0.0))
    screen = None
    if occluded:  # the wall stands out above it
        cover = (reach + look.radius + EDGE, look.radius + EDGE)
        screen = standing_screen(rng, view, (middle, 0.0, look.radius), cover)
    return _draft(rng, view, (first,), (second,), 2 * float(half), screen, barrier=wall)


def support(rng: np.random.Generator, occluded: bool) -> Draft:
    """A ball bounces on a platform, or against it from below. Severity: the platform's thickness in metres."""
    view, look = random_view(rng, tall=True), random_look(rng, FLUSH, radius=(0.17, 0.23))
    half, height, middle = rng.uniform(0.03, 0.1), float(rng.uniform(1.1, 1.3)), float(rng.uniform(-0.3, 0.3))
    platform = Barrier((middle, 0.0, height), (float(rng.uniform(0.7, 1.0)), 0.35, float(half)), random_colour(rng))
    reach, down, up = float(half + look.radius), rng.uniform(3.0, 3.8), rng.uniform(1.2, 2.2)
    first = Object(look, (middle, 0.0, height + reach), (0.0, 0.0, float(-down)))
    second = Object(look, (middle, 0.0, height - reach), (0.0, 0.0, float(up)))
    screen = None
    if occluded:  # the platform stands out to its sides
        cover = (look.radius + EDGE, reach + look.radius + EDGE)
        screen = standing_screen(rng, view, (middle, 0.0, height), cover)
    return _draft(rng, view, (first,), (second,), 2 * float(half), screen, barrier=platform, elastic=True)


def collision(rng: np.random.Generator, occluded: bool) -> Draft:
    """One ball rolls into another, which leaves; or both rest, touching. Severity: the ball's speed in m/s."""
    view, look = random_view(rng), random_look(rng, FLUSH, radius=(0.18, 0.26))
    other, middle, direction = (
        replace(look, colour=random_colour(rng)),
        float(rng.uniform(-0.3, 0.3)),
        rng.choice([-1, 1]),
    )
    speed = rng.uniform(1.0, 2.2)
    places = [(float(middle + side * direction * look.radius), 0.0, look.radius) for side in (-1, 1)]
    at_rest = Object(look, places[0]), Object(other, places[1])
    struck = at_rest[0], replace(at_rest[1], velocity=(float(direction * speed), 0.0, 0.0))
    break_at, screen = random_break(rng), None
    if occluded:  # both have to be seen before
        cover = (2 * look.radius + EDGE, look.radius + EDGE)
        screen = passing_screen(rng, view, (middle, 0.0, look.radius), cover, (break_at - 3, break_at + 3))
    return _draft(rng, view, struck, at_rest, float(speed), screen, break_at=break_at)


def _draft(
    rng: np.random.Generator,
    view: View,
    first: tuple[Object, ...],
    second: tuple[Object, ...],
    severity: float,
    screen: Screen | None,
    barrier: Barrier | None = None,
    elastic: bool = False,
    break_at: int | None = None,
) -> Draft:
    begin = random_break(rng) if break_at is None else break_at
    setting = Setting(view, elastic=elastic, screen=screen, barrier=barrier, bystander=random_bystander(rng))
    return Draft(setting, first, second, begin, severity, random_fade(rng, view, begin))
