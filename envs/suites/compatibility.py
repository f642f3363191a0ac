"""Suites that were written for an older MuJoCo, made to run on the present one; on an older one nothing is changed."""

from __future__ import annotations

from types import SimpleNamespace
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


def mend_joint_types(module: Any) -> None:
    """Let gymnasium-robotics tell joints apart: from 3.12 on no NumPy number is in a tuple of MuJoCo's types.

    Args:
        module: gymnasium_robotics.utils.mujoco_utils, which is given the types as plain numbers.
    """
    import mujoco

    joints = mujoco.mjtJoint
    if np.int32(joints.mjJNT_HINGE) in (joints.mjJNT_HINGE,):
        return
    module.mujoco = _Plain(mujoco, {name: int(getattr(joints, name)) for name in dir(joints) if name[:5] == "mjJNT"})


class _Plain:
    """MuJoCo with types of joints that are plain numbers."""

    def __init__(self, mujoco: Any, joints: dict[str, int]) -> None:
        self.mujoco, self.mjtJoint = mujoco, SimpleNamespace(**joints)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.mujoco, name)
