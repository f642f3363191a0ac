"""Episodes of an analytic world."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]  # the world, and the reader of its episodes
from npz_episodes import write
from stripe_world import HIGH, LOW, frames_of


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., Path]:
    """Writes episodes of that world; `deaf` entries of the action do nothing in it."""

    def make(episodes: int = 6, rows: int = 41, deaf: tuple[int, ...] = (), seed: int = 0) -> Path:
        rng, written = np.random.default_rng(seed), []
        for _ in range(episodes):
            actions = rng.uniform(LOW, HIGH, (rows, 2))
            works = np.array([0.0 if entry in deaf else 1.0 for entry in range(2)])
            moves = np.concatenate([np.zeros((1, 2)), 0.2 * np.cumsum(actions[:-1] * works, 0)])
            start = rng.uniform(-1, 1, 4)
            states = np.concatenate([start[:2] + moves, np.broadcast_to(start[2:], (rows, 2))], 1)
            actions[-1] = np.nan
            written.append({"pixels": frames_of(states), "action": actions.astype(np.float32)})
        return write(tmp_path / f"data{seed}{len(deaf)}{episodes}{rows}", written)

    return make
