"""A stranger's package: a planner, an objective, an encoder, a task and a reader, without a change to wmplan."""

from stranger import npy_folder, objective, patch_encoder, puck, shooting

__all__ = ["npy_folder", "objective", "patch_encoder", "puck", "shooting"]
