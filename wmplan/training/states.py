"""The states of a data set, which nothing is trained on: probes read them, regions sort them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from wmplan.data.reader import Reader
from wmplan.training.config import TrainConfig
from wmplan.training.regions import Region


def state_names(store: Reader) -> tuple[str, ...]:
    """Names of the entries of the data's states, by number where they have none; empty where no probe can be fitted."""
    if "state" not in store.columns or store.columns["state"][1].kind not in "fiub":
        return ()
    if not states_are_finite(store):
        return ()
    size = int(np.prod(store.columns["state"][0]))
    names = store.meta.state_names
    return names if len(names) == size else tuple(f"state_{index}" for index in range(size))


@lru_cache(maxsize=1)
def states_are_finite(store: Reader) -> bool:
    """Whether every state is; the column is read once."""
    return bool(np.isfinite(store.column("state")).all())


def regions_of(config: TrainConfig, store: Reader) -> dict[str, Region]:
    """The regions whose entries are among the data's states."""
    names = state_names(store)
    return {name: region for name, region in config.regions.items() if set(region.entries) <= set(names)}
