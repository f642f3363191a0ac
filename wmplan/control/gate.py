"""The last gate before the robot: it keeps to the limits and sends nothing that is not finite, whatever was planned."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wmplan.control.dynamics import Array, Motion, reachable, towards_rest
from wmplan.control.limits import Limits

log = logging.getLogger(__name__)

ROUNDING = 1e-5  # of an action's range: what float32 arithmetic may add without being a violation
HALVINGS = 12  # of the way between a safe action and the one wanted
LONGEST_STOP = 1000  # robot steps


class NonFiniteActionError(ValueError):
    """An action held numbers that are not finite."""


class LimitsGate:
    """Passes actions of B robots, changed where limits ask for it, and counts what it changed.

    Attributes:
        violations: actions changed because of "bounds", "rate", "acceleration", "workspace" or "non_finite" since
            the last reset.
        stopped: why it is stopped, "estop" or the name of a violation; None where it is not. While it is, all robots
            are led to rest within the limits, and only reset() ends it.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.low, self.high = np.asarray(limits.low, np.float32), np.asarray(limits.high, np.float32)
        self.reset()

    def reset(self, batch: int = 1) -> None:
        """Begin again, with `batch` robots at rest."""
        self.last = np.tile(self.limits.rest_action(), (batch, 1))
        self.change = np.zeros(self.last.shape)
        self.positions: Array | None = None  # (B, d), in the workspace
        self.violations: Counter[str] = Counter(bounds=0, rate=0, acceleration=0, workspace=0, non_finite=0)
        self.stopped: str | None = None

    def __call__(self, actions: ArrayLike, proprio: ArrayLike | None = None) -> NDArray[np.float32]:
        """The actions to send, float32 of shape (B, a), for those wanted, of shape (B, a).

        Args:
            proprio: the robots' states (B, P), which a workspace needs; left out, they are where the actions led to.

        Raises:
            ValueError: at a wrong shape, or if a workspace is given and no robot state was yet.
            NonFiniteActionError: at numbers that are not finite, where the limits say "raise".
        """
        wanted = np.asarray(actions, dtype=np.float64)
        if wanted.shape != self.last.shape:
            raise ValueError(f"actions have shape {wanted.shape}, the limits are for {self.last.shape}")
        self._locate(proprio)
        if self.limits.workspace is not None and self.positions is None:
            raise ValueError("limits: the workspace needs the robot's state, so observations have to hold `proprio`")
        self.poll_estop()
        if self.stopped is not None:
            return self.rest()
        finite: NDArray[np.bool_] = np.asarray(np.isfinite(wanted).all(axis=1))
        if not finite.all():
            self.violations["non_finite"] += int((~finite).sum())
            if self.limits.on_non_finite == "raise":
                raise NonFiniteActionError("the planned action holds numbers that are not finite")
            if self.limits.on_non_finite == "stop":
                self.stop("non_finite")
            wanted = np.where(finite[:, None], wanted, towards_rest(self._motion, self.limits))

        sent, broken = self._limited(wanted, self._motion, self.positions)
        self.violations.update(broken)
        if self.limits.on_violation == "stop" and broken.total():
            self.stop(max(broken, key=lambda name: broken[name]))
        return self.rest() if self.stopped is not None else self._send(sent)

    def rest(self, proprio: ArrayLike | None = None) -> NDArray[np.float32]:
        """The actions (B, a) that lead the robots to rest, as fast as the limits allow."""
        self._locate(proprio)
        self.poll_estop()
        return self._send(towards_rest(self._motion, self.limits))

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

    def preview(self, wanted: Sequence[ArrayLike | None]) -> NDArray[np.float32]:
        """What would be sent, (n, a), for the actions (a,) wanted next of one robot, None standing for rest."""
        motion, positions, sent = self._motion, self.positions, []
        for action in wanted:
            if action is None or self.stopped is not None:
                following = towards_rest(motion, self.limits)
            else:
                following, _ = self._limited(np.asarray(action, np.float64)[None], motion, positions)
            motion = motion.next(self._rounded(following).astype(np.float64))
            if self.limits.workspace is not None and positions is not None:
                positions = self.limits.workspace.moved(positions, motion.action)
            sent.append(motion.action[0])
        return np.array(sent, np.float32).reshape(len(sent), self.last.shape[1])

    # ------------------------------------------------------------------ helpers

    @property
    def _motion(self) -> Motion:
        return Motion(self.last.astype(np.float64), self.change)

    def _locate(self, proprio: ArrayLike | None) -> None:
        if self.limits.workspace is not None and proprio is not None:
            self.positions = self.limits.workspace.positions(np.asarray(proprio))

    def _rounded(self, actions: Array) -> NDArray[np.float32]:
        return np.clip(actions.astype(np.float32), self.low, self.high)

    def _send(self, actions: Array) -> NDArray[np.float32]:
        sent = self._rounded(actions)
        if self.limits.workspace is not None and self.positions is not None:
            self.positions = self.limits.workspace.moved(self.positions, sent)
        self.change, self.last = sent.astype(np.float64) - self.last, sent
        return self.last.copy()

    def _limited(self, wanted: Array, motion: Motion, positions: Array | None) -> tuple[Array, Counter[str]]:
        """The actions (B, a) nearest to those wanted that keep all limits, and how many robots broke which."""
        size = np.maximum(np.abs(self.low), np.abs(self.high))
        slack = np.maximum(ROUNDING * (self.high - self.low), np.finfo(np.float32).eps * size)  # a fixed number's too

        def count(name: str, after: Array, before: Array) -> None:
            broken[name] = int((np.abs(after - before) > slack).any(axis=1).sum())

        broken: Counter[str] = Counter()
        sent = np.clip(wanted, self.low, self.high)
        count("bounds", sent, wanted)
        if self.limits.max_change is not None:
            slow = np.clip(sent, *reachable(motion, self.limits, accelerating=False))
            count("rate", slow, sent)
            sent = slow
        if self.limits.max_acceleration is not None:
            smooth = np.clip(sent, *reachable(motion, self.limits))
            count("acceleration", smooth, sent)
            sent = smooth
        if self.limits.workspace is not None and positions is not None:
            inside = self._inside(sent, motion, positions)
            count("workspace", inside, sent)
            sent = inside
        return sent, +broken

    def _inside(self, wanted: Array, motion: Motion, positions: Array) -> Array:
        """The actions nearest to those wanted after which each position can still stop in the box.

        The way to rest is always there: what was sent before left it. Between it and the action wanted the share that
        can be had is found by halving, for each dimension by itself.
        """
        safe = towards_rest(motion, self.limits)
        share = np.where(self._stops_inside(wanted, motion, positions), 1.0, 0.0)
        if share.all():
            return wanted
        low, high = share.copy(), np.ones_like(share)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            fits = self._stops_inside(safe + middle * (wanted - safe), motion, positions)
            low, high = np.where(fits, np.maximum(low, middle), low), np.where(fits, high, middle)
        return safe + low * (wanted - safe)

    def _stops_inside(self, actions: Array, motion: Motion, positions: Array) -> NDArray[np.bool_]:
        """Whether actions (B, a), then the way to rest, lead no position farther out of the box than it is."""
        workspace = self.limits.workspace
        assert workspace is not None
        fits = np.ones(actions.shape, bool)
        columns = list(workspace.action)
        allowed = workspace.outside(positions) + 1e-9
        motion = motion.next(actions)
        for _ in range(LONGEST_STOP):
            positions = workspace.moved(positions, motion.action)
            fits[:, columns] &= workspace.outside(positions) <= allowed
            if not motion.action[:, columns].any() or not fits[:, columns].any():
                break
            motion = motion.next(towards_rest(motion, self.limits))
        return fits
