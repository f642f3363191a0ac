"""Suites that were written for an older MuJoCo, made to run on the present one; on an older one nothing is changed."""

from __future__ import annotations

from typing import Any

import numpy as np


def mend_welds(base: Any) -> None:
    """Let Metaworld set its mocap welds: eq_data has 12 columns from MuJoCo 3.17 on, and it writes rows of 11.

    Args:
        base: metaworld's SawyerMocapBase.
    """
    import mujoco

    if mujoco.mjNEQDATA == len(WELD):
        return

    def reset_mocap_welds(self: Any) -> None:
        welds = self.model.eq_type == int(mujoco.mjtEq.mjEQ_WELD)
        self.model.eq_data[welds, : len(WELD)] = WELD

    base.reset_mocap_welds = reset_mocap_welds


WELD = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 5.0])
"""What Metaworld sets: no anchor, no turn, and torque in proportion to 5."""
