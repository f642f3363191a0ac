"""Settings of the real-time loop."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from wmplan.errors import UserError
from wmplan.settings.build import convert_fields

LONGEST = 1e9
"""Seconds, which is as good as for ever; the interpreter's own clocks end soon after."""


@dataclass(frozen=True)
class RealtimeConfig:
    """How the loop behaves in time, and when it stops. Times are in seconds.

    Attributes:
        replan_every: robot steps between the frames that are planned from, at least; while the planner is busy the
            newest frame waits. A divisor of the model's action_block keeps its history exact.
        compensation: plan from the state at which the plan takes effect: the actions until then, by the frame's age
            and the expected planning time, are frozen in the search. Without, a plan begins when it arrives, as if
            its frame were of that moment.
        wait_first: let act() wait for the first plan after a reset, the robot standing still.
        expected_seconds: planning time to reckon with until some was measured.
        quantile: of the measured planning times that is reckoned with.
        warmup: first plans of a controller's life that count in no statistics.
        deadline_ms: how long a plan may search; None for as long as it takes.
        max_age: older observations are stale and not planned from.
        max_repeats: control ticks for which the same picture is believed while the robot moves.
        follow_seconds: how long after its frame a plan is followed at most; None to its last action.
        hold_seconds: HOLD that lasts longer becomes SAFE_STOP.
        first_seconds: the same before the first plan after a reset, which has to warm up.
        retry_seconds: pause before a goal or reset that the planner did not take is sent again.
        surprise_threshold: surprise that is too much; None for none.
        surprise_action: what is done then: "ignore" (it is counted), "replan" at the next robot step whatever
            replan_every says, "hold" until it is over, "stop".
        log_seconds: between two lines of statistics in the log; None for none.
    """

    replan_every: int = 1
    compensation: bool = True
    wait_first: bool = False
    expected_seconds: float = 0.1
    quantile: float = 0.95
    warmup: int = 1
    deadline_ms: float | None = None
    max_age: float = 0.5
    max_repeats: int = 10
    follow_seconds: float | None = None
    hold_seconds: float = 2.0
    first_seconds: float = 30.0
    retry_seconds: float = 0.5
    surprise_threshold: float | None = None
    surprise_action: Literal["ignore", "replan", "hold", "stop"] = "ignore"
    log_seconds: float | None = 10.0

    def __post_init__(self) -> None:
        convert_fields(self, "realtime")
        for name, least in (("replan_every", 1), ("warmup", 0), ("max_repeats", 1)):
            value = getattr(self, name)
            if value < least:
                raise UserError(f"{name} must be a whole number of at least {least}, got {value!r}")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not 0 < value <= LONGEST:
                raise UserError(f"{field.name} must be a number above zero, at most {LONGEST:g}, got {value!r}")
        if not self.quantile <= 1:
            raise UserError(f"quantile must be at most 1, got {self.quantile}")
        if self.surprise_action != "ignore" and self.surprise_threshold is None:
            raise UserError(f"surprise_action is {self.surprise_action!r}, so surprise_threshold must be given")
