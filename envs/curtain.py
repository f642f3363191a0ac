"""A curtain before the camera for a part of an episode: what stands behind it has to be remembered."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmplan.errors import UserError

GREY = 128
SHARE = 3
"""It hides one part in so many of the image's width, in the middle."""


@dataclass(frozen=True)
class Curtain:
    """Hides the middle third of what is observed from one robot step of an episode to another.

    Attributes:
        first, last: the robot steps, the first observation being of step 0.
    """

    first: int
    last: int

    @classmethod
    def of(cls, steps: Sequence[int]) -> Curtain:
        """From [first, last].

        Raises:
            UserError: if these are not two whole numbers, in order.
        """
        try:
            first, last = map(operator.index, steps)
        except (TypeError, ValueError):
            raise UserError(f"curtain must be [first, last], two robot steps, got {steps!r}") from None
        if not 0 <= first <= last:
            raise UserError(f"curtain must be two robot steps from 0 on, in order, got {list(steps)}")
        return cls(first, last)

    def before(self, frame: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
        """The frame (H, W, 3) as it is seen at a robot step."""
        if not self.first <= step <= self.last:
            return frame
        width = frame.shape[1]
        hidden = frame.copy()
        hidden[:, round(width / SHARE) : round(width * (SHARE - 1) / SHARE)] = GREY
        return hidden
