"""The tasks, as Gymnasium environments: gymnasium.make("wmplan.envs:wmplan/PushT-v0") imports and makes one.

A task is one file beside its XML. Importing them loads no simulator: that is loaded when an environment is made.
"""

import wmplan.gl_backend  # noqa: F401  chooses the GL backend, before any module here imports mujoco
from wmplan.envs import arm_reach, physics_exam, pusht, suites

__all__ = ["arm_reach", "physics_exam", "pusht", "suites"]
