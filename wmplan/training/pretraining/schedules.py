"""How settings move over the steps of a run: learning rate, weight decay, and the momentum of a moving average."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

Schedule = Callable[[int], float]
COOL_DOWN = 0.1
"""Share of the steps at the end in which a constant learning rate falls to nothing (V-JEPA 2)."""


def learning_rate(peak: float, steps: int, warm_up: float, kind: Literal["cosine", "constant"]) -> Schedule:
    """A linear rise over a share `warm_up` of the steps; then a cosine down to 1 %, or a constant with a cool-down."""
    rise = max(1, round(warm_up * steps))

    def at(step: int) -> float:
        if step < rise:
            return peak * (step + 1) / rise
        if kind == "constant":
            return peak * min(1.0, max(steps - step, 1) / max(1.0, COOL_DOWN * steps))
        return peak * (0.01 + 0.99 * half_cosine((step - rise) / max(1, steps - rise)))

    return at


def between(first: float, last: float, steps: int) -> Schedule:
    """From `first` to `last` along half a cosine: the weight decay and the momentum of I-JEPA."""
    return lambda step: last + (first - last) * half_cosine(step / steps)


def warmed_up(momentum: float, step: int) -> float:
    """The momentum of a moving average after some steps, no more than (1 + n) / (10 + n).

    As TensorFlow's ExponentialMovingAverage with num_updates: an average is of what there was, not of its beginning.
    """
    return min(momentum, (1 + step) / (10 + step))


def half_cosine(share: float) -> float:
    """From 1 at 0 down to 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
