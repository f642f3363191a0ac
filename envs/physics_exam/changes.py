"""What an object is does not change by itself: permanence, shape and colour."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wmplan.envs.physics_exam.looks import (
    EDGE,
    hsv,
    passing_screen,
    random_bystander,
    random_fade,
    random_look,
    random_view,
    standing_screen,
)
from wmplan.envs.physics_exam.stage import shape_size
from wmplan.envs.physics_exam.timing import random_break
from wmplan.envs.physics_exam.world import SHAPES, Draft, Look, Object, Setting


def permanence(rng: np.random.Generator, occluded: bool) -> Draft:
    """An object is there or not. Severity: its radius in metres."""
    look = random_look(rng, radius=(0.16, 0.32))
    return _changed(rng, occluded, look, replace(look, visible=False), look.radius)


def shape(rng: np.random.Generator, occluded: bool) -> Draft:
    """An object has one shape or another. Severity: the part of their joint outline that is not common to both."""
    look = random_look(rng, radius=(0.24, 0.34))
    other = replace(look, shape=str(rng.choice([name for name in SHAPES if name != look.shape])))
    return _changed(rng, occluded, look, other, outline_difference(look, other))


def colour(rng: np.random.Generator, occluded: bool) -> Draft:
    """An object has one hue or another. Severity: the hues' distance, in turns of the colour circle."""
    distance, hue = rng.uniform(0.08, 0.5), rng.uniform()
    saturation, value = rng.uniform(0.75, 0.95), rng.uniform(0.7, 0.95)
    look = replace(random_look(rng), colour=hsv(hue, saturation, value))
    turned = hsv(hue + distance * rng.choice([-1, 1]), saturation, value)
    return _changed(rng, occluded, look, replace(look, colour=turned), float(distance))


def _changed(rng: np.random.Generator, occluded: bool, first: Look, second: Look, severity: float) -> Draft:
    """The same motion in two looks: at rest while a screen comes and goes, or passing behind one that stands there."""
    view, break_at, moves = random_view(rng), random_break(rng), bool(rng.integers(2))
    speed = rng.choice([-1, 1]) * rng.uniform(1.4, 2.1) if moves else 0.0
    place = (float(rng.uniform(-0.15, 0.15) if moves else rng.uniform(-0.8, 0.8)), 0.0, first.radius)
    half = (first.radius + EDGE, first.radius + EDGE)
    screen = None
    if occluded and moves:
        screen = standing_screen(rng, view, place, half)
    elif occluded:
        early, late = rng.integers(2, 5, size=2)
        screen = passing_screen(rng, view, place, half, (break_at - int(early), break_at + int(late)))
    motion = place, (float(speed), 0.0, 0.0)
    return Draft(
        setting=Setting(view, elastic=False, screen=screen, bystander=random_bystander(rng)),
        first=(Object(first, *motion),),
        second=(Object(second, *motion),),
        break_at=break_at,
        severity=severity,
        fade=random_fade(rng, view, break_at),
    )


def outline_difference(first: Look, second: Look) -> float:
    """1 - intersection over union of two outlines of one height, seen from the front."""
    height = np.linspace(-1, 1, 401)
    one, two = (_half_width(look.shape, height) for look in (first, second))
    return float(1 - np.minimum(one, two).sum() / np.maximum(one, two).sum())


def _half_width(shape: str, height: np.ndarray) -> np.ndarray:
    """Half the outline's width at heights from -1 to 1 of a shape with radius 1."""
    size = shape_size(shape, 1.0)[0]
    if shape in ("box", "cylinder"):
        return np.full_like(height, size)
    beyond = np.maximum(np.abs(height) - (1 - size), 0)  # within the caps of a capsule; all of a sphere is one
    return np.sqrt(np.maximum(size**2 - beyond**2, 0))
