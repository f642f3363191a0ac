"""Entry points of the registered environments."""

from __future__ import annotations

from typing import Any

from wmplan.envs.environment import Environment


def push_t(**options: Any) -> Environment:
    """`wmplan/PushT-v0`."""
    from wmplan.envs.pusht import PushT

    return Environment(PushT(), **options)


def arm_reach(**options: Any) -> Environment:
    """`wmplan/ArmReach-v0`."""
    from wmplan.envs.arm_reach import ArmReach

    return Environment(ArmReach(), **options)
