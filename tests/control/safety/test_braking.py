"""The way to rest in closed form, against one that is walked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmplan.control.safety.braking import way_to_rest
from wmplan.control.safety.dynamics import Dynamics, Motion
from wmplan.control.safety.limits import Limits

N = 50  # motions at once


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 10**6),
    st.none() | st.floats(0.003, 1.0),
    st.none() | st.floats(0.003, 1.0),
    st.booleans(),
)
def test_it_is_where_the_walk_turns_and_ends(
    seed: int, largest: float | None, acceleration: float | None, even: bool
) -> None:
    rng = np.random.default_rng(seed)
    if even:  # so that steps come out even, where rounding decides
        largest = None if largest is None else np.ceil(16 * largest) / 16
        acceleration = None if acceleration is None else np.ceil(64 * acceleration) / 64
    limits = Limits(
        low=(-1.0,),
        high=(1.3,),
        max_change=None if largest is None else (largest,),
        max_acceleration=None if acceleration is None else (acceleration,),
    )
    dynamics = Dynamics(limits)
    before = Motion(np.zeros((N, 1)), np.zeros((N, 1)))
    for _ in range(rng.integers(0, 20)):  # to a motion that the limits allow
        wanted = rng.uniform(-1.5, 1.5, (N, 1)) if rng.random() < 0.5 else np.sign(rng.normal(0, 1, (N, 1))) * 2
        before = before.next(dynamics.within_reach(wanted, before))
    wanted = rng.uniform(-1.5, 1.5, (N, 1))
    if even:
        wanted = np.round(wanted * 8) / 8
    motion = before.next(dynamics.within_reach(wanted, before))
    turn, end = way_to_rest(motion.action, motion.change, dynamics.change, dynamics.acceleration)
    place, path = np.zeros((N, 1)), [np.zeros((N, 1))]
    for _ in range(5000):
        place = place + motion.action
        path.append(place)
        if not motion.action.any():
            break
        motion = motion.next(dynamics.towards_rest(motion))
    else:
        raise AssertionError("it does not come to rest")
    np.testing.assert_allclose(end, place, atol=1e-7)
    np.testing.assert_allclose(np.maximum(turn, end).clip(0), np.max(path, axis=0), atol=1e-7)
    np.testing.assert_allclose(np.minimum(turn, end).clip(max=0), np.min(path, axis=0), atol=1e-7)


@pytest.mark.parametrize("acceleration", [None, 0.1])
def test_at_rest_there_is_no_way(acceleration: float | None) -> None:
    zero, limit = np.zeros((1, 1)), None if acceleration is None else np.array([acceleration])
    for largest in (None, np.array([0.2])):
        turn, end = way_to_rest(zero, zero, largest, limit)
        assert turn == end == 0.0
