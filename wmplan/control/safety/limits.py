"""What may be sent to a robot. The gate that sees to it is in wmplan.control.safety.safety_filter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wmplan.control.safety.workspace import SMALLEST, Workspace, check_finite
from wmplan.errors import UserError
from wmplan.settings.build import convert_fields


@dataclass(frozen=True)
class Limits:
    """What may be sent to a robot, in its own units. All of it is finite, as float32 too.

    Attributes:
        low, high: bounds of one robot step's action, of length a; equal ones fix a number. For actions that are
            Cartesian positions they are the workspace box.
        max_change: largest change of each number from one robot step to the next, of length a; None for no limit.
        rest: the action of a robot at rest, of length a, within the bounds: what the first change is measured from,
            and what a stop leads to. None for zero, clipped to the bounds.
        on_non_finite: "raise" a NonFiniteActionError, send the "rest" action (within the other limits) instead, or
            "stop": that, and latch.
        max_acceleration: largest change of that change from one robot step to the next, of length a; None for no
            limit. It brakes ahead of the bounds, so that both hold.
        workspace: box for the positions that Cartesian velocities or displacements lead to; None for none.
        on_violation: "clip" an action that breaks any limit, or "stop": latch a stop at the first one.
        estop: asked at every robot step whether to stop, which latches; one that raises counts as pressed.

    Raises:
        ValueError: naming the field that cannot be.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    max_change: tuple[float, ...] | None = None
    rest: tuple[float, ...] | None = None
    on_non_finite: Literal["raise", "rest", "stop"] = "raise"
    max_acceleration: tuple[float, ...] | None = None
    workspace: Workspace | None = None
    on_violation: Literal["clip", "stop"] = "clip"
    estop: Callable[[], bool] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        convert_fields(self, "limits")
        if not self.low:
            raise UserError("limits: low has no entry, it has to have one for each number of the action")
        for name in ("high", "max_change", "rest", "max_acceleration"):
            value = getattr(self, name)
            if value is not None and len(value) != len(self.low):
                raise UserError(f"limits: {name} has {len(value)} entries, low has {len(self.low)}")
        for name in ("low", "high", "max_change", "rest", "max_acceleration"):
            check_finite(f"limits: {name}", getattr(self, name))
        if not all(low <= high for low, high in zip(self.low, self.high, strict=True)):
            raise UserError(f"limits: low {self.low} must be at most high {self.high} in every dimension")
        for name in ("max_change", "max_acceleration"):
            value = getattr(self, name)
            if value is not None and not min(value) >= SMALLEST:
                raise UserError(f"limits: {name} is {value}, every entry must be above zero")
        if self.rest is not None and not all(
            low <= rest <= high for low, rest, high in zip(self.low, self.rest, self.high, strict=True)
        ):
            raise UserError(f"limits: rest {self.rest} has to lie within low {self.low} and high {self.high}")
        if self.estop is not None and not callable(self.estop):
            raise UserError(f"limits: estop must be a function, got {self.estop!r}")
        if self.workspace is not None:
            beyond = [index for index in self.workspace.action if index >= len(self.low)]
            if beyond:
                raise UserError(f"limits: workspace names number {beyond[0]} of an action of {len(self.low)}")
            if self.rest_action()[list(self.workspace.action)].any():
                raise UserError("limits: rest must be zero where the workspace counts, or nothing would ever stop")

    def rest_action(self) -> NDArray[np.float32]:
        """The action of a robot at rest, float32 of shape (a,)."""
        return np.clip(self.rest or np.zeros(len(self.low)), self.low, self.high).astype(np.float32)

    @property
    def least_proprio(self) -> int:
        """How many numbers of the robot's state are needed; 0 without a workspace."""
        return 0 if self.workspace is None else max(self.workspace.proprio) + 1
