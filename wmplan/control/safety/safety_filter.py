"""The last gate before the robot: it keeps to the limits and sends nothing that is not finite, whatever was planned."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wmplan.control.safety.dynamics import Array, Dynamics, Motion
from wmplan.control.safety.limits import Limits
from wmplan.control.safety.stopping import StoppingRoom
from wmplan.errors import NotPossibleError, UserError

log = logging.getLogger(__name__)

ROUNDING = 1e-5  # of an action's range: what float32 arithmetic may add without being a violation


class NonFiniteActionError(UserError):
    """An action held numbers that are not finite."""


@dataclass(frozen=True)
class Moment:
    """What the next actions depend on: the motion of B robots, their positions (B, d) if known, whether they stop."""

    motion: Motion
    positions: Array | None
    stopped: bool


class LimitsGate:
    """Passes actions of B robots, changed where limits ask for it, and counts what it changed.

    Attributes:
        last: what each robot was sent last, (B, a); kept over a reset. NaN of a number that is held and of which nobody
            knows yet what it is.
        span: from the lowest to the highest bound, (a,), zero for a number that is fixed.
        slack: what rounding to float32 may add without being a violation, (a,).
        violations: actions changed because of "bounds", "rate", "acceleration", "workspace" or "non_finite" since
            the last reset.
        stopped: why it is stopped, "estop" or the name of a violation; None where it is not. While it is, all robots
            are led to rest within the limits, and only reset() ends it.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.low, self.high = np.asarray(limits.low, np.float32), np.asarray(limits.high, np.float32)
        self._dynamics = Dynamics(limits)
        self.span = self._dynamics.high - self._dynamics.low
        size = np.maximum(np.abs(self._dynamics.low), np.abs(self._dynamics.high))
        self.slack = np.maximum(ROUNDING * self.span, np.finfo(np.float32).eps * size)
        self._room = None if limits.workspace is None else StoppingRoom(limits, limits.workspace)
        self.last = np.zeros((0, len(limits.low)), np.float32)
        self.reset()

    def reset(self, batch: int = 1, *, at_rest: bool = False) -> None:
        """Begin again with `batch` robots, from the motion that they are in: what they were sent last is remembered.

        Args:
            batch: if it is another number than before, nothing is known of the robots, and they are taken to be at
                rest.
            at_rest: that they were brought to rest since then by other means, as by a simulator that starts anew.
        """
        if at_rest or batch != len(self.last):
            self.last = np.tile(self.limits.rest_action(), (batch, 1))
            self._motion = Motion(self.last.astype(np.float64), np.zeros(self.last.shape))
        self._positions: Array | None = None  # (B, d), in the workspace
        self.violations: Counter[str] = Counter(bounds=0, rate=0, acceleration=0, workspace=0, non_finite=0)
        self.stopped: str | None = None

    def __call__(self, actions: ArrayLike, proprio: ArrayLike | None = None) -> NDArray[np.float32]:
        """The actions to send, float32 of shape (B, a), for those wanted, of shape (B, a).

        Args:
            proprio: the robots' states (B, P), which a workspace needs; left out, or where one is not finite, a robot
                is where the actions led to.

        Raises:
            ValueError: at a wrong shape, at what are no numbers, or if a workspace is given and where a robot is was
                never known. Nothing is sent then.
            NonFiniteActionError: at numbers that are not finite, where the limits say "raise".
            NotPossibleError: where changes are limited, and nobody knows yet where a number is that is held.
        """
        wanted = _numbers("actions", actions)
        if wanted.shape != self.last.shape:
            raise UserError(f"actions have shape {wanted.shape}, the limits are for {self.last.shape}")
        self._locate(proprio)
        if self.limits.workspace is not None and self._positions is None:
            raise UserError("limits: the workspace needs the robot's state, so observations have to hold `proprio`")
        self.poll_estop()
        if self.stopped is not None:
            return self.rest()
        if self.limits.max_change is not None or self.limits.max_acceleration is not None:
            self.require_known()  # or else nobody could tell how large a change the first action is
        finite: NDArray[np.bool_] = np.asarray(np.isfinite(wanted).all(axis=1))
        if not finite.all():
            self.violations["non_finite"] += int((~finite).sum())
            if self.limits.on_non_finite == "raise":
                raise NonFiniteActionError("the planned action holds numbers that are not finite")
            if self.limits.on_non_finite == "stop":
                self.stop("non_finite")
            wanted = np.where(finite[:, None], wanted, self._dynamics.towards_rest(self._motion))

        sent, broken = self._limited(wanted, self._motion, self._positions)
        self.violations.update(broken)
        if self.limits.on_violation == "stop" and broken:
            self.stop(max(broken, key=lambda name: broken[name]))
        return self.rest() if self.stopped is not None else self._send(sent)

    def measure(self, proprio: NDArray[Any]) -> None:
        """Take over from the robots' states (B, P) where the numbers that are held are, as long as nothing was sent."""
        if self.is_known:
            return
        found = np.stack([self.limits.rest_action(state) for state in proprio])
        self.last = np.where(np.isnan(self.last), found, self.last)
        self._motion = Motion(self.last.astype(np.float64), self._motion.change)

    @property
    def is_known(self) -> bool:
        """Whether it is known what every robot would be sent at rest."""
        return not np.isnan(self.last[:, self._dynamics.held]).any()

    def require_known(self) -> None:
        """Raise a NotPossibleError that says why there is nothing to send, unless it is known what rest would be."""
        unknown = np.flatnonzero(np.isnan(self.last).any(axis=0) & self._dynamics.held).tolist()
        if unknown:
            raise NotPossibleError(
                f"numbers {', '.join(map(str, unknown))} of the action are to be held where they are, and nobody knows "
                "where yet: nothing was sent, and no observation with the robot's state (proprio) came"
            )

    @property
    def standing(self) -> NDArray[np.float32]:
        """What each robot would be sent if it stood where it is, (B, a); zero where nobody knows."""
        rest = np.where(self._dynamics.held, self.last, self._dynamics.rest)
        return np.clip(np.nan_to_num(rest), self.low, self.high).astype(np.float32)

    @property
    def from_rest(self) -> Array:
        """How far the robots are from rest, (B, a); see Dynamics.from_rest()."""
        return np.nan_to_num(self._dynamics.from_rest(self._motion))

    def rest(self, proprio: ArrayLike | None = None) -> NDArray[np.float32]:
        """The actions (B, a) that lead the robots to rest, as fast as the limits allow.

        Raises:
            NotPossibleError: where nobody knows yet what that would be, see Limits.measured.
        """
        self._locate(proprio)
        self.poll_estop()
        return self._send(self._dynamics.towards_rest(self._motion))

    def stop(self, reason: str) -> None:
        """Stop, until the next reset(); the first reason stays."""
        if self.stopped is None:
            self.stopped = reason

    def poll_estop(self) -> None:
        """Stop if the e-stop is pressed, or cannot be asked."""
        if self.stopped is not None or self.limits.estop is None:
            return
        try:
            pressed = bool(self.limits.estop())
        except Exception:
            log.exception("the e-stop could not be asked, which counts as pressed")
            pressed = True
        if pressed:
            self.stop("estop")

    @property
    def rests_next(self) -> bool:
        """Whether the limits let all robots be at rest with the next action."""
        next_actions = self._rounded(self._dynamics.towards_rest(self._motion), self._motion)
        left = self._dynamics.from_rest(self._motion.next(next_actions.astype(np.float64)))
        return bool((np.abs(left) <= self.slack).all())

    @property
    def moment(self) -> Moment:
        """What preview() begins with; it does not change as actions are sent."""
        return Moment(self._motion, self._positions, self.stopped is not None)

    def preview(self, wanted: Sequence[ArrayLike | None], moment: Moment | None = None) -> NDArray[np.float32]:
        """What would be sent, (n, a), for the actions (a,) wanted next of one robot, None standing for rest.

        Args:
            moment: from which on; None for now.
        """
        begin = self.moment if moment is None else moment
        motion, positions, sent = begin.motion, begin.positions, []
        for action in wanted:
            if action is None or begin.stopped:
                following = self._dynamics.towards_rest(motion)
            else:
                following, _ = self._limited(np.asarray(action, np.float64)[None], motion, positions)
            motion = motion.next(self._rounded(following, motion).astype(np.float64))
            if self.limits.workspace is not None and positions is not None:
                positions = self.limits.workspace.moved(positions, motion.action)
            sent.append(motion.action[0])
        return np.array(sent, np.float32).reshape(len(sent), self.last.shape[1])

    # ------------------------------------------------------------------ helpers

    def _locate(self, proprio: ArrayLike | None) -> None:
        workspace = self.limits.workspace
        if workspace is None or proprio is None:
            return
        states = _numbers("proprio", proprio)
        least = self.limits.least_proprio
        if states.ndim != 2 or len(states) != len(self.last) or states.shape[1] < least:
            needed = f"({len(self.last)}, at least {least})"
            raise UserError(f"proprio has shape {states.shape}, the workspace needs {needed}")
        told = workspace.positions(states)
        known = np.isfinite(told)
        if known.all():
            self._positions = told
        elif self._positions is not None:
            self._positions = np.where(known, told, self._positions)

    def _rounded(self, actions: Array, motion: Motion) -> NDArray[np.float32]:
        rounded = np.minimum(np.maximum(actions.astype(np.float32), self.low), self.high)
        if not np.isfinite(rounded).all():  # limits that are checked give none; a robot is no place to find out
            before = np.nan_to_num(motion.action.astype(np.float32), posinf=0.0, neginf=0.0)
            rounded = np.where(np.isfinite(rounded), rounded, before)
        return rounded

    def _send(self, actions: Array) -> NDArray[np.float32]:
        if np.isnan(actions).any():
            self.require_known()
        sent = self._rounded(actions, self._motion)
        if self.limits.workspace is not None and self._positions is not None:
            self._positions = self.limits.workspace.moved(self._positions, sent)
        self._motion, self.last = self._motion.next(sent.astype(np.float64)), sent
        return sent.copy()

    def _limited(self, wanted: Array, motion: Motion, positions: Array | None) -> tuple[Array, Counter[str]]:
        """The actions (B, a) nearest to those wanted that keep all limits, and how many robots broke which."""
        broken: Counter[str] = Counter()

        def kept(name: str, before: Array, after: Array) -> Array:
            if number := int((np.abs(after - before) > self.slack).any(axis=1).sum()):
                broken[name] = number
            return after

        dynamics = self._dynamics
        sent = kept("bounds", wanted, np.minimum(np.maximum(wanted, dynamics.low), dynamics.high))
        if dynamics.change is not None:
            sent = kept("rate", sent, dynamics.within_reach(sent, motion, accelerating=False))
        if dynamics.acceleration is not None:
            sent = kept("acceleration", sent, dynamics.within_reach(sent, motion))
        if self._room is not None and positions is not None:
            sent = kept("workspace", sent, self._room.nearest(sent, motion, positions))
        return sent, broken


def _numbers(name: str, values: ArrayLike) -> Array:
    """As float64.

    Raises:
        ValueError: if they are no table of numbers.
    """
    try:
        table = np.asarray(values)
        if table.dtype.kind not in "biufO":
            raise TypeError(f"they are {table.dtype}")
        with np.errstate(over="ignore"):
            return table.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{name} must be a table of numbers: {error}") from error
