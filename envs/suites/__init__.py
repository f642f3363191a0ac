"""Public suites on the environment contract: a file a suite, which loads the suite when an environment is made."""

from wmplan.envs.suites import (
    dm_reacher,
    fetch,
    gym_pusht,
    metaworld,
    ogbench,
    ogbench_pointmaze,
    ogbench_scene,
    pointmaze,
    swm_pusht,
    swm_tworoom,
)

__all__ = [
    "dm_reacher",
    "fetch",
    "gym_pusht",
    "metaworld",
    "ogbench",
    "ogbench_pointmaze",
    "ogbench_scene",
    "pointmaze",
    "swm_pusht",
    "swm_tworoom",
]
