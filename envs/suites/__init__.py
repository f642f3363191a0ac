"""Public suites on the environment contract: a file a suite, which loads the suite when an environment is made."""

from wmplan.envs.suites import metaworld

__all__ = ["metaworld"]
