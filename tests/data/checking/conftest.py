"""A recording in which all is well, as an HDF5 file to break something in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

LENGTH, EPISODES, RATE = 60, 6, 10


@pytest.fixture
def recording(tmp_path: Path) -> Callable[..., Path]:
    """A bright square that goes where the action says, in frames with something behind it; `edit` is given the file."""

    def write(edit: Callable[[dict[str, Any]], object] = lambda columns: None, seed: int = 0) -> Path:
        rng = np.random.default_rng(seed)
        pixels, actions, places = [], [], []
        scenery = rng.integers(60, 120, (32, 32, 3), dtype=np.uint8)
        for _ in range(EPISODES):
            place = rng.uniform(8, 24, 2)
            velocity = np.zeros(2)
            for _ in range(LENGTH):
                frame = scenery.copy()
                x, y = place.round().astype(int)
                frame[y - 3 : y + 3, x - 3 : x + 3] = (250, 30, 30)
                velocity = 0.6 * velocity + rng.normal(0, 1.2, 2)
                action = np.clip(place + velocity, 4, 28) - place
                pixels.append(frame)
                actions.append(action)
                places.append(place)
                place = place + action
            actions[-1] = np.full(2, np.nan)
        columns: dict[str, Any] = {
            "pixels": np.stack(pixels),
            "action": np.stack(actions),
            "proprio": np.stack(places),
            "timestamp": np.tile(np.arange(LENGTH) / RATE, EPISODES),
            "ep_len": np.full(EPISODES, LENGTH),
            "ep_offset": np.arange(EPISODES) * LENGTH,
        }
        edit(columns)
        path = tmp_path / "recording.h5"
        with h5py.File(path, "w") as file:
            for name, values in columns.items():
                file[name] = values
        return path

    return write
