"""What may be sent to a robot. The gate that sees to it is in wmplan.control.safety.safety_filter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from wmplan.action_kinds import HELD, KINDS
from wmplan.control.safety.workspace import SMALLEST, Workspace, check_finite
from wmplan.errors import UserError
from wmplan.settings.build import convert_fields

if TYPE_CHECKING:
    from wmplan.models.base import ModelSpec


@dataclass(frozen=True)
class Limits:
    """What may be sent to a robot, in its own units. All of it is finite, as float32 too.

    Attributes:
        low, high: bounds of one robot step's action, of length a; equal ones fix a number. For actions that are
            Cartesian positions they are the workspace box.
        max_change: largest change of each number from one robot step to the next, of length a; None for no limit.
        rest: the action of a robot at rest, of length a, within the bounds: what the first change is measured from,
            and what a hold or stop leads to. None for what `kinds` says: of positions, rotations and grippers what was
            sent last, of velocities and displacements, and where nothing is said, zero, clipped to the bounds.
        on_non_finite: "raise" a NonFiniteActionError, send the "rest" action (within the other limits) instead, or
            "stop": that, and latch.
        max_acceleration: largest change of that change from one robot step to the next, of length a; None for no
            limit. It brakes ahead of the bounds, so that both hold.
        workspace: box for the positions that Cartesian velocities or displacements lead to; None for none.
        on_violation: "clip" an action that breaks any limit, or "stop": latch a stop at the first one.
        kinds: what each number of the action is, see wmplan.action_kinds; empty where that is not said. Controllers
            take over what their model or server says.
        measured: of each number, which number of the robot's own state measures it, None where none does: before
            anything is sent, a number that is held is taken to be there.
        start: of each number, what it is before anything is sent, where none measures it, as a gripper that is open.
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
    kinds: tuple[str, ...] = ()
    measured: tuple[int | None, ...] | None = None
    start: tuple[float | None, ...] | None = None

    def __post_init__(self) -> None:
        convert_fields(self, "limits")
        if not self.low:
            raise UserError("limits: low has no entry, it has to have one for each number of the action")
        for name in (
            "high",
            "max_change",
            "rest",
            "max_acceleration",
            "measured",
            "start",
            *(["kinds"] * bool(self.kinds)),
        ):
            value = getattr(self, name)
            if value is not None and len(value) != len(self.low):
                raise UserError(f"limits: {name} has {len(value)} entries, low has {len(self.low)}")
        for name in ("low", "high", "max_change", "rest", "max_acceleration"):
            check_finite(f"limits: {name}", getattr(self, name))
        check_finite("limits: start", None if self.start is None else tuple(x for x in self.start if x is not None))
        if not set(self.kinds) <= set(KINDS):
            raise UserError(f"limits: kinds must be of {', '.join(KINDS)}, got {list(self.kinds)}")
        if any(index is not None and index < 0 for index in self.measured or ()):
            raise UserError(f"limits: measured must be numbers of the robot's state from 0 on, got {self.measured}")
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
            if positions := [index for index in self.workspace.action if self.held[index]]:
                raise UserError(
                    f"limits: workspace counts velocities, number {positions[0]} of the action is a position: low and "
                    "high are its box"
                )
            if self.rest_action()[list(self.workspace.action)].any():
                raise UserError("limits: rest must be zero where the workspace counts, or nothing would ever stop")

    @classmethod
    def of(cls, told: ModelSpec | Mapping[str, Any], **more: Any) -> Limits:
        """Bounds and kinds of a model's spec, or of what a server says (PolicyClient.metadata); `more` are fields."""
        told = told if isinstance(told, Mapping) else vars(told)
        found = {"low": told["action_low"], "high": told["action_high"], **_kinds_of(told)}
        return cls(**{**found, **more})

    def knowing(self, told: ModelSpec | Mapping[str, Any]) -> Limits:
        """The same with the kinds that a model or server says, where they say none themselves."""
        found = _kinds_of(told if isinstance(told, Mapping) else vars(told))
        if self.kinds or len(found["kinds"]) != len(self.low):
            return self
        return replace(self, **(found if self.measured is None else {"kinds": found["kinds"]}))

    @property
    def held(self) -> NDArray[np.bool_]:
        """Which numbers a robot at rest is sent as it was sent them last, (a,)."""
        if self.rest is not None or not self.kinds:
            return np.zeros(len(self.low), bool)
        return np.array([kind in HELD for kind in self.kinds])

    @property
    def unknown(self) -> list[int]:
        """The numbers that are held and of which nothing tells where they are before anything is sent."""
        nothing = (None,) * len(self.low)
        pairs = zip(self.measured or nothing, self.start or nothing, strict=True)
        return [index for index, pair in enumerate(pairs) if self.held[index] and pair == (None, None)]

    def require_known(self) -> None:
        """Raise a UserError that says what would tell where the numbers that are held are at first."""
        if self.unknown:
            numbers = ", ".join(f"{index} ({self.kinds[index]})" for index in self.unknown)
            raise UserError(
                f"limits: numbers {numbers} of the action are held where they are, and nothing tells where that is "
                "before the first plan: set limits.measured, the numbers of proprio that measure them, limits.start, "
                "what they are at the beginning, or limits.rest, where a hold is to lead"
            )

    def rest_action(self, state: NDArray[np.floating] | None = None) -> NDArray[np.float32]:
        """The action of a robot at rest that nothing was sent to, float32 (a,); NaN where nobody knows.

        Args:
            state: what the robot measures of itself, (P,).
        """
        nothing = (None,) * len(self.low)
        rows = zip(self.held, self.measured or nothing, self.start or nothing, strict=True)
        unsent = [0.0 if not held else _place(index, at, state) for held, index, at in rows]
        rest = np.array(unsent if self.rest is None else self.rest, np.float64)
        return np.clip(rest, self.low, self.high).astype(np.float32)

    @property
    def least_proprio(self) -> int:
        """How many numbers of the robot's state are needed; 0 without a workspace."""
        return 0 if self.workspace is None else max(self.workspace.proprio) + 1


def _kinds_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a model or a server says of the numbers of an action; older ones say nothing."""
    given = [told.get(name) for name in ("action_kinds", "action_measured")]
    kinds, measured = (tuple(one) if isinstance(one, list | tuple) else () for one in given)  # whatever a server says
    return {"kinds": kinds, "measured": measured or None}


def _place(index: int | None, start: float | None, state: NDArray[np.floating] | None) -> float:
    """Where a number is that is held: as the robot's state measures it, or what it is at first; NaN for unknown."""
    if index is None:
        return np.nan if start is None else start
    return float(state[index]) if state is not None and index < len(state) else np.nan
