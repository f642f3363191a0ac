"""What goes wrong and when: on request, or drawn from a seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wmplan.errors import UserError
from wmplan.settings.build import convert_fields
from wmplan.settings.suggest import did_you_mean


@dataclass(frozen=True)
class Kind:
    """One way to fail.

    Attributes:
        size: what a fault's size means; "" where it has none.
        default: the size where none is given.
        drawn: bounds of random sizes.
        whole: whether the size is a whole number.
        top: largest size.
    """

    size: str
    default: float = 0.0
    drawn: tuple[float, float] = (0.0, 0.0)
    whole: bool = False
    top: float = math.inf


KINDS: dict[str, Kind] = {
    "camera_delay": Kind("seconds by which frames come later", 0.2, (0.05, 0.5)),
    "camera_jitter": Kind("seconds by which frames come later at most, each by its own chance", 0.1, (0.05, 0.3)),
    "frames_dropped": Kind("share of the frames that is lost", 1.0, (0.2, 1.0), top=1.0),
    "camera_frozen": Kind(""),
    "camera_covered": Kind(""),
    "camera_bumped": Kind("metres by which the camera stands elsewhere", 0.05, (0.02, 0.1)),
    "network_lost": Kind(""),
    "network_slow": Kind("seconds each way", 0.2, (0.05, 0.5)),
    "server_killed": Kind(""),
    "planner_slow": Kind("seconds a plan takes longer", 0.5, (0.1, 1.0)),
    "action_noise": Kind("standard deviation, in halves of the action's range", 0.2, (0.05, 0.5)),
    "knock": Kind("speed, m/s or rad/s, that a hand gives to what the task moves", 0.8, (0.3, 1.2)),
    "actuator_failed": Kind("number of the action's entry that has no effect any more", 0, (0, 1), whole=True),
}
"""Every kind of fault. A knock happens at once; the others last."""


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        kind: one of KINDS.
        at: when it begins, seconds from the start of the episode.
        seconds: how long it lasts; null for the rest of the episode.
        size: how bad it is, in what the kind says; null for the kind's default.
    """

    kind: str
    at: float = 0.0
    seconds: float | None = None
    size: float | None = None

    def __post_init__(self) -> None:
        convert_fields(self)
        if self.kind not in KINDS:
            raise UserError(f"there is no fault {self.kind!r}; {did_you_mean(self.kind, KINDS)}")
        if not 0 <= self.at < math.inf:
            raise UserError(f"fault {self.kind}: at must be at least 0 seconds, got {self.at}")
        if self.seconds is not None and not self.seconds > 0:
            raise UserError(f"fault {self.kind}: seconds must be above 0, or null, got {self.seconds}")
        kind = KINDS[self.kind]
        if self.size is not None:
            if not kind.size:
                raise UserError(f"fault {self.kind} has no size, {self.size} was given")
            if not 0 <= self.size <= kind.top or math.isinf(self.size) or (kind.whole and self.size % 1):
                wanted = "a whole number" if kind.whole else "a number"
                top = f" and at most {kind.top:g}" if kind.top < math.inf else ""
                raise UserError(f"fault {self.kind}: size must be {wanted} of at least 0{top}, got {self.size}")

    @property
    def magnitude(self) -> float:
        """The size in force."""
        return KINDS[self.kind].default if self.size is None else self.size

    def lasts_at(self, moment: float) -> bool:
        """Whether it is there at `moment`."""
        return self.at <= moment < self.at + (math.inf if self.seconds is None else self.seconds)


class FaultSchedule:
    """The faults of one episode, asked by time since its start. Several threads may ask."""

    def __init__(self, faults: Sequence[Fault] = ()) -> None:
        self.faults = tuple(faults)

    def size(self, kind: str, moment: float) -> float | None:
        """The largest size of the faults of this kind that last at `moment`; None where there is none."""
        return max((fault.magnitude for fault in self._of(kind, moment)), default=None)

    def sizes(self, kind: str, moment: float) -> list[float]:
        """The sizes of all faults of this kind that last at `moment`."""
        return [fault.magnitude for fault in self._of(kind, moment)]

    def names(self, moment: float) -> list[str]:
        """The kinds of all faults at `moment`; a knock is named for a second."""
        named = {
            fault.kind: None
            for fault in self.faults
            if (fault.at <= moment < fault.at + 1 if fault.kind == "knock" else fault.lasts_at(moment))
        }
        return list(named)

    def _of(self, kind: str, moment: float) -> list[Fault]:
        return [fault for fault in self.faults if fault.kind == kind and fault.lasts_at(moment)]


def random_faults(
    rng: np.random.Generator, count: int, duration: float, action_dim: int, kinds: Sequence[str] = tuple(KINDS)
) -> list[Fault]:
    """`count` faults of random kinds, times and sizes within `duration` seconds, from 0.1 s to half of it long."""
    found = []
    for _ in range(count):
        name = str(rng.choice(list(kinds)))
        kind = KINDS[name]
        at, seconds = rng.uniform(0, duration), rng.uniform(0.1, max(duration / 2, 0.2))
        low, high = kind.drawn
        size = float(rng.integers(action_dim)) if name == "actuator_failed" else float(rng.uniform(low, high))
        found.append(Fault(name, round(float(at), 3), round(float(seconds), 3), size if kind.size else None))
    return sorted(found, key=lambda fault: fault.at)
