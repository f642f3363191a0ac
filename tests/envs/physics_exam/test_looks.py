"""Outlines and colours against geometry."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from wmplan.envs.physics_exam.changes import colour, outline_difference
from wmplan.envs.physics_exam.world import SHAPES, Look

RED = (1.0, 0.0, 0.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_outline_does_not_differ_from_itself(shape: str) -> None:
    assert outline_difference(Look(shape, 0.2, RED), Look(shape, 0.2, RED)) == 0


def test_a_disc_in_a_square() -> None:
    assert outline_difference(Look("sphere", 1, RED), Look("box", 1, RED)) == pytest.approx(1 - np.pi / 4, abs=5e-3)


def test_a_pill_in_a_square() -> None:
    """A capsule of radius 1/2 and height 2: a disc of that radius and the square between its halves."""
    pill = np.pi / 4 + 1
    assert outline_difference(Look("capsule", 1, RED), Look("box", 1, RED)) == pytest.approx(1 - pill / 4, abs=5e-3)


def test_hues_are_as_far_apart_as_the_severity_says() -> None:
    for seed in range(20):
        draft = colour(np.random.default_rng(seed), occluded=False)
        one, other = (colorsys.rgb_to_hsv(*thing[0].look.colour)[0] for thing in (draft.first, draft.second))
        apart = abs(one - other)
        assert min(apart, 1 - apart) == pytest.approx(draft.severity, abs=1e-6)
