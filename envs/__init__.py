"""The tasks, as Gymnasium environments: gymnasium.make("wmplan.envs:wmplan/PushT-v0") imports and makes one."""

import gymnasium

import wmplan.gl_backend  # noqa: F401  chooses the GL backend, before any module here imports mujoco

gymnasium.register("wmplan/PushT-v0", entry_point="wmplan.envs.make:push_t", max_episode_steps=300)
gymnasium.register("wmplan/ArmReach-v0", entry_point="wmplan.envs.make:arm_reach", max_episode_steps=300)
