"""When the break is."""

from __future__ import annotations

import numpy as np

EARLIEST, LATEST = 15, 21
"""The frame of the break: enough before it to see what goes on, and enough after it to see what became of it."""


def random_break(rng: np.random.Generator) -> int:
    return int(rng.integers(EARLIEST, LATEST + 1))
