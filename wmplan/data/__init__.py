"""Data sets of episodes: collecting, storing, reading others' and drawing windows from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wmplan.lazy import export

if TYPE_CHECKING:
    from wmplan.data.collection import CollectConfig as CollectConfig
    from wmplan.data.collection import collect as collect
    from wmplan.data.episode import episode_rng as episode_rng
    from wmplan.data.episode import run_episode as run_episode
    from wmplan.data.meta import DataError as DataError
    from wmplan.data.meta import StoreMeta as StoreMeta
    from wmplan.data.reader import Reader as Reader
    from wmplan.data.reader import open_data as open_data
    from wmplan.data.sampler import WindowSampler as WindowSampler
    from wmplan.data.sampler import split_episodes as split_episodes
    from wmplan.data.store import EpisodeStore as EpisodeStore
    from wmplan.environment import PlanningEnvironment as PlanningEnvironment

__all__ = export(
    __name__,
    {
        ".collection": "CollectConfig collect",
        ".episode": "episode_rng run_episode",
        ".meta": "DataError StoreMeta",
        ".reader": "Reader open_data",
        ".sampler": "WindowSampler split_episodes",
        ".store": "EpisodeStore",
        "wmplan.environment": "PlanningEnvironment",
    },
)
