"""What the data says of its actions: bounds, scale, and which numbers of them never move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmplan.data.reader import Reader
from wmplan.errors import UserError
from wmplan.training.config import TrainConfig

Numbers = NDArray[np.float64]
CONSTANT = 1e-6  # spread of a number that never moves, as a share of its bounds' range or of its size
ROUNDING = 1e-5  # share of a range by which an action may be outside of it


@dataclass(frozen=True)
class ActionStatistics:
    """Of the numbers of one robot step's action, each array of shape (a,).

    Attributes:
        low, high: bounds: those configured, or else the data set's.
        seen_low, seen_high: smallest and largest of any episode.
        scale: root mean square over the training episodes; 1 for a number that is always zero.
        outside: share of the robot steps whose action is not within the bounds.
    """

    low: Numbers
    high: Numbers
    seen_low: Numbers
    seen_high: Numbers
    scale: Numbers
    outside: float

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Which numbers never move, (a,)."""
        size = np.maximum(np.abs(self.seen_low), np.abs(self.seen_high))
        return self.seen_high - self.seen_low <= CONSTANT * np.maximum(size, self.high - self.low)

    @property
    def planned(self) -> tuple[Numbers, Numbers]:
        """Bounds to plan within. What never moved is fixed: a model cannot know what it would do."""
        return np.where(self.constant, self.seen_low, self.low), np.where(self.constant, self.seen_low, self.high)


def action_statistics(config: TrainConfig, store: Reader, training: NDArray[np.int64]) -> ActionStatistics:
    """Of all actions that are finite: the last row of an episode has none.

    Raises:
        UserError: where no action is finite, or the bounds do not fit them.
    """
    every, trained = finite(store.column("action")), finite(store.column("action", training))
    if not len(trained):
        raise UserError("column 'action' of the training episodes has no row that is finite")
    bounds = []
    for name in ("action_low", "action_high"):
        given, told = getattr(config, name), getattr(store.meta, name)
        bound = np.asarray(told if given is None else given, np.float64)
        if bound.shape != every.shape[1:]:
            source = "the data set's meta.json" if given is None else "the settings"
            raise UserError(f"{name} must have {every.shape[1]} entries as the actions, got {bound.size} in {source}")
        bounds.append(bound)
    low, high = bounds
    if not (np.isfinite(low) & np.isfinite(high) & (low <= high)).all():
        raise UserError(
            f"action_low must be finite and at most action_high, got {low.tolist()} and {high.tolist()}: "
            "set both to what the robot may be sent"
        )
    slack = ROUNDING * (high - low)
    outside = ((every < low - slack) | (every > high + slack)).any(-1).mean()
    scale = np.sqrt((trained**2).mean(0)) + 1e-6
    scale[np.abs(trained).max(0) == 0] = 1.0
    return ActionStatistics(low, high, every.min(0), every.max(0), scale, float(outside))


def finite(actions: NDArray[np.floating]) -> Numbers:
    """The rows (n, a) without a number that is not finite."""
    actions = actions.reshape(len(actions), -1).astype(np.float64)
    return actions[np.isfinite(actions).all(-1)]
