"""The lag of systems whose lag is known; and none where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wmplan.data.checking.alignment import estimate_alignment


def smooth(rng: np.random.Generator, rows: int, size: int, memory: float) -> Any:
    values = rng.normal(size=(rows, size))
    for row in range(1, rows):
        values[row] = memory * values[row - 1] + np.sqrt(1 - memory**2) * values[row]
    return values


def heavy_robot(rng: np.random.Generator, late: int, inertia: float) -> tuple[Any, Any]:
    """Frames and actions of a robot that seeks goals, with inertia, and acts `late` rows after it is told."""
    place, speed, goal = rng.uniform(-1, 1, 2), np.zeros(2), rng.uniform(-1, 1, 2)
    frames, actions = [], [np.zeros(2)] * late
    for _ in range(100):
        goal = rng.uniform(-1, 1, 2) if rng.random() < 0.1 else goal
        actions.append(0.3 * (goal - place) - 0.2 * speed + rng.normal(size=2) * 0.05)
        frames.append(np.concatenate([place, place**2, np.sin(3 * place), rng.normal(size=4) * 0.02]))
        speed = (1 - inertia) * actions[-1 - late] + inertia * speed
        place = place + speed
    return np.array(frames, np.float32), np.array(actions[late:])


@pytest.mark.parametrize("late", [0, 1, 2])
@pytest.mark.parametrize("inertia", [0.0, 0.6])
def test_the_lag_of_a_robot_with_inertia(late: int, inertia: float) -> None:
    """Its fastest motion comes after the action; the change before tells that from a lag."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        frames, actions = zip(*[heavy_robot(rng, late, inertia) for _ in range(12)], strict=True)
        found = estimate_alignment(frames, actions)
        assert found is not None and found.lag == late and found.sure > 0.95, found
        assert max(found.explained, key=lambda lag: found.explained[lag]) == late


def test_nothing_is_claimed_of_actions_that_do_nothing() -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        memory = (0, 0.5, 0.9, 0.98)[seed % 4]
        frames = [smooth(rng, 100, 30, (0.5, 0.9, 0.99)[seed % 3]).astype(np.float32) for _ in range(8)]
        found = estimate_alignment(frames, [smooth(rng, 100, 3, memory) for _ in range(8)])
        assert found is None or found.sure < 0.95, found


def test_too_little_or_nothing_to_see() -> None:
    rng = np.random.default_rng(0)
    frames, actions = zip(*[heavy_robot(rng, 0, 0.5) for _ in range(2)], strict=True)
    assert estimate_alignment(frames, actions) is None  # 186 rows
    frames, actions = zip(*[heavy_robot(rng, 0, 0.5) for _ in range(9)], strict=True)
    assert estimate_alignment([np.zeros_like(one) for one in frames], actions) is None
    assert estimate_alignment([one[:3] for one in frames], [one[:3] for one in actions]) is None
    broken = [np.full_like(one, np.nan) for one in actions[:6]]
    assert estimate_alignment(frames, [*broken, *actions[6:]]) == estimate_alignment(frames[6:], actions[6:])
