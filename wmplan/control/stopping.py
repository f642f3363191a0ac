"""Which actions leave a robot room to stop inside its workspace."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wmplan.control.dynamics import Array, Dynamics, Motion
from wmplan.control.limits import Limits
from wmplan.control.workspace import Workspace

PARTS = 64  # that the way between a safe action and the one wanted is divided into, twice
LONGEST_STOP = 1000  # robot steps
TOLERANCE = 1e-9  # of a position


class StoppingRoom:
    """Moves actions no farther than each position can still stop in the box, along the way to rest.

    Args:
        limits: the motions that are allowed.
        workspace: the box.
    """

    def __init__(self, limits: Limits, workspace: Workspace) -> None:
        self.workspace, self.columns = workspace, list(workspace.action)
        self.dynamics = Dynamics(limits, self.columns)

    def nearest(self, wanted: Array, motion: Motion, positions: Array) -> Array:
        """The actions (B, a) nearest to those wanted that leave room to stop.

        The way to rest is always there: what was sent before left it. Between it and the action wanted the share that
        can be had is found by trying, for each dimension by itself.

        Args:
            positions: where the robots are, (B, d).
        """
        own = Motion(motion.action[:, self.columns], motion.change[:, self.columns])
        ahead = wanted[:, self.columns]  # (B, d)
        if self._is_far(ahead, own, positions) or self._fits(ahead[None], own, positions).all():
            return wanted
        safe = self.dynamics.towards_rest(own)
        share, width = np.zeros(ahead.shape), 1.0
        for _ in range(2):
            width /= PARTS
            steps = width * np.arange(1, PARTS + 1)[:, None, None]  # (PARTS, 1, 1)
            fits = self._fits(safe + np.minimum(share + steps, 1.0) * (ahead - safe), own, positions)
            share = share + width * np.logical_and.accumulate(fits).sum(axis=0)
        found = wanted.copy()
        found[:, self.columns] = safe + np.minimum(share, 1.0) * (ahead - safe)
        return found

    def _is_far(self, actions: Array, motion: Motion, positions: Array) -> bool:
        """Whether all positions are so deep inside that no way to rest after these actions (B, d) leaves the box.

        A change of c outwards takes c / acceleration steps to brake, and the action grows by less than their sum. From
        there to rest it needs the steps of a motion that speeds up, goes at max_change, and slows down.
        """
        change, acceleration = self.dynamics.change, self.dynamics.acceleration
        largest, steps = np.abs(actions), np.full(actions.shape, 2.0)
        if acceleration is not None:
            braking = np.ceil(np.abs(actions - motion.action) / acceleration) + 1
            largest = largest + np.abs(actions - motion.action) * braking
            steps = steps + braking + 2 * np.sqrt(largest / acceleration) + 4
        if change is not None:
            steps = steps + largest / change
        way = self.workspace.gain * largest * steps
        low, high = self.workspace.outside(positions - way), self.workspace.outside(positions + way)
        return not (low.any() or high.any())

    def _fits(self, actions: Array, motion: Motion, positions: Array) -> NDArray[np.bool_]:
        """Whether actions (K, B, d), then the way to rest, lead no position farther out of the box than it is."""
        allowed = self.workspace.outside(positions) + TOLERANCE
        if self.dynamics.acceleration is None:  # it slows by max_change each step, so its end is its farthest point
            way = actions if self.dynamics.change is None else _braking(actions, self.dynamics.change)
            return np.asarray(self.workspace.outside(positions + self.workspace.gain * way) <= allowed)
        fits = np.ones(actions.shape, bool)
        motion = Motion(actions, actions - motion.action)
        for _ in range(LONGEST_STOP):
            positions = positions + self.workspace.gain * motion.action
            fits &= self.workspace.outside(positions) <= allowed
            if not motion.action.any() or not fits.any():
                break
            motion = motion.next(self.dynamics.towards_rest(motion))
        return fits


def _braking(first: Array, change: Array) -> Array:
    """The sum of `first` and all that follow while it comes to zero by `change` each step."""
    size = np.abs(first)
    steps = np.floor(size / change)
    return np.sign(first) * (size * (steps + 1) - change * steps * (steps + 1) / 2)
