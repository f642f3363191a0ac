"""Which actions leave a robot room to stop inside its workspace."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wmplan.control.safety.braking import way_to_rest
from wmplan.control.safety.dynamics import Array, Dynamics, Motion
from wmplan.control.safety.limits import Limits
from wmplan.control.safety.workspace import Workspace

PARTS = 64  # that the way between a safe action and the one wanted is divided into, twice
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
        if self._fits(ahead, own, positions).all():
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

    def _fits(self, actions: Array, motion: Motion, positions: Array) -> NDArray[np.bool_]:
        """Whether actions (..., B, d), then the way to rest, lead no position farther out of the box than it is."""
        allowed = self.workspace.outside(positions) + TOLERANCE
        ways = way_to_rest(actions, actions - motion.action, self.dynamics.change, self.dynamics.acceleration)
        turn, end = (self.workspace.outside(positions + self.workspace.gain * way) <= allowed for way in ways)
        return turn & end
