"""Which action belongs to which robot step: what was sent, and what is planned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Action = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Planned:
    """One robot step of a plan: its action (a,), and when the frame was captured that it was planned from."""

    action: Action
    captured_at: float


KEPT = 250
"""Robot steps for which it is remembered what was sent."""


class Timeline:
    """Actions by robot step.

    A plan that arrives replaces what is planned from the step at which it takes effect; a late one loses the rows
    whose time has passed. Delay is so counted in actions consumed, whatever it was in seconds.

    Args:
        rest: the action of a robot at rest, (a,).
    """

    def __init__(self, rest: Action) -> None:
        self.rest = rest
        self.reset()

    def reset(self) -> None:
        """Forget everything; robot step 0 is next."""
        self.next = 0
        self.planned: dict[int, Planned] = {}
        self._sent: dict[int, list[Action]] = {}

    def sent(self, action: Action) -> None:
        """The action was sent in the robot step before `next`; one step may get several."""
        self._sent.setdefault(self.next - 1, []).append(action)

    def begin(self, steps: int) -> int:
        """Another robot step begins, `steps` after the one before; in those skipped the robot went on as it was."""
        went_on = self._sent[self.next - 1][-1] if self.next - 1 in self._sent else self.rest
        last = self.next + steps - 1
        for step in range(max(self.next, last - KEPT), last):
            self._sent[step] = [went_on]
        self.next = last + 1
        self.planned = {at: row for at, row in self.planned.items() if at >= last}
        self.forget_before(last - KEPT)
        return last

    @property
    def free(self) -> int:
        """The first robot step that nothing was sent in yet."""
        return self.next if self.next - 1 in self._sent else max(self.next - 1, 0)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is planned from there on."""
        return not any(step >= self.free for step in self.planned)

    def executed(self, begin: int, end: int) -> Action:
        """The mean action of each robot step from `begin` to before `end`, (n, a)."""
        rows = [np.mean(self._sent.get(step, [self.rest]), axis=0) for step in range(begin, end)]
        return np.array(rows, np.float32).reshape(len(rows), len(self.rest))

    def install(self, actions: Action, begin: int, first: int, captured_at: float) -> float | None:
        """Follow a plan (N, a) of the robot steps from `begin` on, none of it before `first`.

        Returns:
            How far it is from the plan before at the first robot step, largest entry; None where there was none.
        """
        begin_at = max(begin, first)
        if begin + len(actions) <= begin_at:
            return None  # its time is over
        before = self.planned.get(begin_at)
        self.planned = {step: row for step, row in self.planned.items() if step < begin_at}
        for step in range(begin_at, begin + len(actions)):
            self.planned[step] = Planned(actions[step - begin], captured_at)
        if before is None:
            return None
        return float(np.abs(self.planned[begin_at].action - before.action).max())

    def cut(self, step: int) -> None:
        """Plan nothing from this robot step on."""
        self.planned = {at: row for at, row in self.planned.items() if at < step}

    def forget_before(self, step: int) -> None:
        """Drop what was sent earlier."""
        for at in [at for at in self._sent if at < min(step, self.next - 1)]:
            del self._sent[at]
