"""Data sets of episodes: collecting, storing, reading others' and drawing windows from them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wmplan.data.collect import CollectConfig, collect
    from wmplan.data.environment import PlanningEnvironment
    from wmplan.data.episode import episode_rng, run_episode
    from wmplan.data.meta import DataError, StoreMeta
    from wmplan.data.sampler import WindowSampler, split_episodes
    from wmplan.data.store import EpisodeStore

_HOME = {
    "CollectConfig": "collect",
    "DataError": "meta",
    "EpisodeStore": "store",
    "PlanningEnvironment": "environment",
    "StoreMeta": "meta",
    "WindowSampler": "sampler",
    "collect": "collect",
    "episode_rng": "episode",
    "run_episode": "episode",
    "split_episodes": "sampler",
}

__all__ = [
    "CollectConfig",
    "DataError",
    "EpisodeStore",
    "PlanningEnvironment",
    "StoreMeta",
    "WindowSampler",
    "collect",
    "episode_rng",
    "run_episode",
    "split_episodes",
]


def __getattr__(name: str) -> Any:
    """The names above, imported when they are first used: collecting needs no torch, reading no simulator."""
    if name not in _HOME:
        raise AttributeError(f"module 'wmplan.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f"wmplan.data.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
