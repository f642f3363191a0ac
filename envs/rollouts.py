"""Many trajectories of one model from one state, in threads: the true dynamics for planners that may cheat."""

from __future__ import annotations

import mujoco
import mujoco.rollout
import numpy as np
from numpy.typing import NDArray

from wmplan.envs.physics import Physics

FULL = mujoco.mjtState.mjSTATE_FULLPHYSICS


class Rollouts:
    """Holds the threads and the data that they work on. The physics itself is only read."""

    def __init__(self, physics: Physics) -> None:
        self.physics = physics
        self.threads = 0
        self._pool: mujoco.rollout.Rollout | None = None

    def positions(self, ctrl: NDArray[np.float64], threads: int) -> NDArray[np.float64]:
        """Joint positions (S, T, nq) under the controls (S, T, nu), one a physics step, from the present state.

        The same bits as stepping gives, whatever the number of threads.
        """
        if self._pool is None or threads != self.threads:
            self.close()
            self.threads = threads
            self._pool = mujoco.rollout.Rollout(nthread=threads if threads > 1 else 0)  # 0: on the calling thread
            self._data = [mujoco.MjData(self.physics.model) for _ in range(threads)]
        model, data = self.physics.model, self.physics.data
        start = np.empty(mujoco.mj_stateSize(model, FULL))
        mujoco.mj_getState(model, data, start, FULL)
        states, _ = self._pool.rollout(
            model, self._data, start[None], ctrl, initial_warmstart=data.qacc_warmstart[None].copy()
        )
        return states[..., 1 : 1 + model.nq]  # full physics states begin with the time

    def close(self) -> None:
        """End the threads; the next call starts new ones."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None
