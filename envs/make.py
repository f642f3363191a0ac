"""Old entry points of the environments, which work with a warning for one version: Gymnasium ids make them."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium


def push_t(**options: Any) -> gymnasium.Env[Any, Any]:
    """`wmplan/PushT-v0`."""
    return _make("wmplan.envs:wmplan/PushT-v0", **options)


def arm_reach(**options: Any) -> gymnasium.Env[Any, Any]:
    """`wmplan/ArmReach-v0`."""
    return _make("wmplan.envs:wmplan/ArmReach-v0", **options)


def _make(task: str, **options: Any) -> gymnasium.Env[Any, Any]:
    warnings.warn(f"wmplan.envs.make goes with the next version: use gymnasium.make({task!r})", DeprecationWarning, 3)
    return gymnasium.make(task, disable_env_checker=True, **options).unwrapped
