"""Public suites on the environment contract: a file a suite, which loads the suite when an environment is made."""

from wmplan.envs.suites import fetch, metaworld, pointmaze

__all__ = ["fetch", "metaworld", "pointmaze"]
