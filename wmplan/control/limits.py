"""The last gate before the robot: bounds, rate, and never a number that is not finite, whatever the planner did."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

ROUNDING = 1e-5  # of an action's range: what float32 arithmetic may add without being a violation


class NonFiniteActionError(ValueError):
    """An action held numbers that are not finite."""


@dataclass(frozen=True)
class Limits:
    """What may be sent to a robot, in its own units.

    Attributes:
        low, high: bounds of one robot step's action, of length a.
        max_change: largest change of each number from one robot step to the next, of length a; None for no limit.
        rest: the action of a robot at rest, of length a, within the bounds: what the first change is measured from.
            None for zero, clipped to the bounds.
        on_non_finite: "raise" a NonFiniteActionError, or send the "rest" action (within max_change) instead.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    max_change: tuple[float, ...] | None = None
    rest: tuple[float, ...] | None = None
    on_non_finite: Literal["raise", "rest"] = "raise"

    def __post_init__(self) -> None:
        for name in ("high", "max_change", "rest"):
            value = getattr(self, name)
            if value is not None and len(value) != len(self.low):
                raise ValueError(f"limits: {name} has {len(value)} entries, low has {len(self.low)}")
        if not all(low < high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError(f"limits: low {self.low} has to be below high {self.high} in every dimension")
        if self.max_change is not None and not min(self.max_change) > 0:
            raise ValueError(f"limits: max_change is {self.max_change}, every entry has to be above zero")
        if self.rest is not None and not all(
            low <= rest <= high for low, rest, high in zip(self.low, self.rest, self.high, strict=True)
        ):
            raise ValueError(f"limits: rest {self.rest} has to lie within low {self.low} and high {self.high}")
        if self.on_non_finite not in ("raise", "rest"):
            raise ValueError(f"limits: on_non_finite is {self.on_non_finite!r}, it has to be 'raise' or 'rest'")

    def rest_action(self) -> NDArray[np.float32]:
        """The action of a robot at rest, float32 of shape (a,)."""
        return np.clip(self.rest or np.zeros(len(self.low)), self.low, self.high).astype(np.float32)


class LimitsGate:
    """Passes actions of B robots, changed where limits ask for it, and counts what it changed.

    Attributes:
        violations: actions changed because of "bounds", "rate" or "non_finite" since the last reset.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.low, self.high = np.asarray(limits.low, np.float32), np.asarray(limits.high, np.float32)
        self.reset()

    def reset(self, batch: int = 1) -> None:
        """Begin again, with `batch` robots at rest."""
        self.last = np.tile(self.limits.rest_action(), (batch, 1))
        self.violations: Counter[str] = Counter(bounds=0, rate=0, non_finite=0)

    def __call__(self, actions: ArrayLike) -> NDArray[np.float32]:
        """The actions to send, float32 of shape (B, a), for those wanted, of shape (B, a).

        Raises:
            ValueError: at a wrong shape.
            NonFiniteActionError: at numbers that are not finite, where the limits say "raise".
        """
        wanted = np.asarray(actions, dtype=np.float64)
        if wanted.shape != self.last.shape:
            raise ValueError(f"actions have shape {wanted.shape}, the limits are for {self.last.shape}")
        finite: NDArray[np.bool_] = np.asarray(np.isfinite(wanted).all(axis=1))
        self.violations["non_finite"] += int((~finite).sum())
        if not finite.all():
            if self.limits.on_non_finite == "raise":
                raise NonFiniteActionError("the planned action holds numbers that are not finite")
            wanted = np.where(finite[:, None], wanted, self.limits.rest_action())

        sent = np.clip(wanted, self.low, self.high)
        slack = ROUNDING * (self.high - self.low)
        self.violations["bounds"] += int((np.abs(sent - wanted) > slack).any(axis=1).sum())
        if self.limits.max_change is not None:
            change = np.asarray(self.limits.max_change)
            slow = np.clip(sent, self.last - change, self.last + change)
            self.violations["rate"] += int((np.abs(slow - sent) > slack).any(axis=1).sum())
            sent = slow
        self.last = np.clip(sent.astype(np.float32), self.low, self.high)
        return self.last.copy()
