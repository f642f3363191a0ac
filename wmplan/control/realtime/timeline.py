"""Which action belongs to which robot step: what was sent, and what is planned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Action = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Planned:
    """Actions (n, a) of the robot steps from `begin` on, and when the frame was captured that they come from."""

    begin: int
    actions: Action
    captured_at: float

    @property
    def end(self) -> int:
        """The robot step after the last."""
        return self.begin + len(self.actions)

    def before(self, step: int) -> Planned:
        """What of it comes before a robot step later than `begin`."""
        return self if self.end <= step else Planned(self.begin, self.actions[: step - self.begin], self.captured_at)


KEPT = 250
"""Robot steps for which it is remembered what was sent."""


class Timeline:
    """Actions by robot step.

    A plan that arrives replaces what is planned from the step at which it takes effect; a late one loses the rows
    whose time has passed. Delay is so counted in actions consumed, whatever it was in seconds.

    Args:
        rest: the action of a robot at rest, (a,).

    Attributes:
        plans: what is planned, by robot step, none of them overlapping. It is replaced, never changed.
    """

    def __init__(self, rest: Action) -> None:
        self.rest = rest
        self.reset()

    def reset(self) -> None:
        """Forget everything; robot step 0 is next."""
        self.next = 0
        self.plans: tuple[Planned, ...] = ()
        self._sent: dict[int, list[Action]] = {}  # by robot step, in their order

    def sent(self, action: Action) -> None:
        """The action was sent in the robot step before `next`; one step may get several."""
        self._sent.setdefault(self.next - 1, []).append(action.copy())  # whoever sends it may scale it in place

    def begin(self, steps: int) -> int:
        """Another robot step begins, `steps` after the one before; in those skipped the robot went on as it was."""
        went_on = self._sent[self.next - 1][-1] if self.next - 1 in self._sent else self.rest
        last = self.next + steps - 1
        for step in range(max(self.next, last - KEPT), last):
            self._sent[step] = [went_on]
        self.next = last + 1
        self.plans = tuple(plan for plan in self.plans if plan.end > last)
        self.forget_before(last - KEPT)
        return last

    @property
    def free(self) -> int:
        """The first robot step that nothing was sent in yet."""
        return self.next if self.next - 1 in self._sent else max(self.next - 1, 0)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is planned from there on."""
        return not any(plan.end > self.free for plan in self.plans)

    def planned(self, step: int) -> Planned | None:
        """The plan that is followed in a robot step, its first action being that step's; None where there is none."""
        for plan in self.plans:
            if plan.begin <= step < plan.end:
                return Planned(step, plan.actions[step - plan.begin :], plan.captured_at)
        return None

    def executed(self, begin: int, end: int) -> Action:
        """The mean action of each robot step from `begin` to before `end`, (n, a)."""
        rows = [_mean(self._sent.get(step, [self.rest])) for step in range(begin, end)]
        return np.array(rows, np.float32).reshape(len(rows), len(self.rest))

    def install(self, actions: Action, begin: int, first: int, captured_at: float) -> float | None:
        """Follow a plan (N, a) of the robot steps from `begin` on, none of it before `first`.

        Returns:
            How far it is from the plan before at the first robot step, largest entry; None where there was none.
        """
        begin_at = max(begin, first)
        if begin + len(actions) <= begin_at:
            return None  # its time is over
        plan, before = Planned(begin_at, actions[begin_at - begin :], captured_at), self.planned(begin_at)
        self.cut(begin_at)
        self.plans = (*self.plans, plan)
        return None if before is None else float(np.abs(plan.actions[0] - before.actions[0]).max())

    def cut(self, step: int) -> None:
        """Plan nothing from this robot step on."""
        self.plans = tuple(plan.before(step) for plan in self.plans if plan.begin < step)

    def forget_before(self, step: int) -> None:
        """Drop what was sent earlier."""
        limit = min(step, self.next - 1)
        while self._sent and (oldest := next(iter(self._sent))) < limit:
            del self._sent[oldest]


def following(plans: Sequence[Planned], begin: int, end: int) -> list[Action | None]:
    """The action planned for each robot step from `begin` to before `end`, None where there is none."""
    rows: list[Action | None] = [None] * max(0, end - begin)
    for plan in plans:
        for step in range(max(begin, plan.begin), min(end, plan.end)):
            rows[step - begin] = plan.actions[step - plan.begin]
    return rows


def _mean(actions: Sequence[Action]) -> Action:
    return actions[0] if len(actions) == 1 else np.mean(actions, axis=0, dtype=np.float32)
