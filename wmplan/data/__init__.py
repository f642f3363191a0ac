"""Data sets of episodes: collecting, storing, reading others' and drawing windows from them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wmplan.data.collect import CollectConfig, collect
    from wmplan.data.episode import episode_rng, run_episode
    from wmplan.data.meta import DataError, StoreMeta
    from wmplan.data.reader import Reader, open_data
    from wmplan.data.sampler import WindowSampler, split_episodes
    from wmplan.data.store import EpisodeStore
    from wmplan.environment import PlanningEnvironment

_HOME = {
    "CollectConfig": "collect",
    "DataError": "meta",
    "EpisodeStore": "store",
    "PlanningEnvironment": "wmplan.environment",
    "Reader": "reader",
    "StoreMeta": "meta",
    "WindowSampler": "sampler",
    "collect": "collect",
    "episode_rng": "episode",
    "open_data": "reader",
    "run_episode": "episode",
    "split_episodes": "sampler",
}

__all__ = [
    "CollectConfig",
    "DataError",
    "EpisodeStore",
    "PlanningEnvironment",
    "Reader",
    "StoreMeta",
    "WindowSampler",
    "collect",
    "episode_rng",
    "open_data",
    "run_episode",
    "split_episodes",
]


def __getattr__(name: str) -> Any:
    """The names above, imported when they are first used: collecting needs no torch, reading no simulator."""
    if name not in _HOME:
        raise AttributeError(f"module 'wmplan.data' has no attribute {name!r}")
    home = _HOME[name]
    return getattr(importlib.import_module(home if "." in home else f"wmplan.data.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
