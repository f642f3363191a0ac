"""Room to stop, against the way to rest walked step by step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmplan.control.safety.dynamics import Dynamics, Motion
from wmplan.control.safety.limits import Limits
from wmplan.control.safety.stopping import StoppingRoom
from wmplan.control.safety.workspace import Workspace

GAIN = 0.1


def farthest(first: np.ndarray, motion: Motion, dynamics: Dynamics, start: np.ndarray) -> np.ndarray:
    """How far out of [-1, 1] the positions come after a first action (1, 2) and the way to rest."""
    out, position = np.zeros(start.shape), start
    motion = motion.next(first)
    for _ in range(3000):
        position = position + GAIN * motion.action
        out = np.maximum(out, np.abs(position) - 1)
        if not motion.action.any():
            return out
        motion = motion.next(dynamics.towards_rest(motion))
    raise AssertionError("it does not come to rest")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.booleans(), st.booleans())
def test_it_is_as_much_as_there_is_and_no_more(seed: int, slow: bool, rate: bool, acceleration: bool) -> None:
    rng = np.random.default_rng(seed)
    scale = 0.05 if slow else 1.0
    limits = Limits(
        low=(-1.0, -1.5),
        high=(1.2, 1.0),
        max_change=tuple(scale * rng.uniform(0.05, 0.5, 2)) if rate else None,
        max_acceleration=tuple(scale * rng.uniform(0.05, 0.5, 2)) if acceleration else None,
        workspace=Workspace((-1.0, -1.0), (1.0, 1.0), (0, 1), (0, 1), GAIN),
    )
    assert limits.workspace is not None
    room, dynamics = StoppingRoom(limits, limits.workspace), Dynamics(limits)
    motion, position = Motion(np.zeros((1, 2)), np.zeros((1, 2))), rng.uniform(-1, 1, (1, 2))
    for _ in range(30):
        wanted = dynamics.within_reach(rng.uniform(-2, 2, (1, 2)), motion)
        sent = room.nearest(wanted, motion, position)
        assert (farthest(sent, motion, dynamics, position) <= 1e-6).all()
        safe = dynamics.towards_rest(motion)
        kept_back = np.abs(sent - wanted) > 1e-3 * np.abs(wanted - safe) + 1e-9
        further = sent + 1e-3 * (wanted - safe)  # would be too far where it was kept back
        if kept_back.any():
            assert (farthest(further, motion, dynamics, position)[kept_back] > 0).all()
        motion, position = motion.next(sent), position + GAIN * sent


@pytest.mark.parametrize("low", [-np.inf, -1.0])
def test_a_side_without_a_wall_is_no_limit(low: float) -> None:
    limits = Limits((-1.0,), (1.0,), workspace=Workspace((low,), (np.inf,), (0,), (0,), 1.0))
    assert limits.workspace is not None
    room, motion = StoppingRoom(limits, limits.workspace), Motion(np.zeros((1, 1)), np.zeros((1, 1)))
    assert room.nearest(np.array([[1.0]]), motion, np.array([[1e6]])) == 1.0
    kept = room.nearest(np.array([[-1.0]]), motion, np.array([[-0.5]]))
    assert kept == pytest.approx(-1.0 if low == -np.inf else -0.5, abs=1e-3)
