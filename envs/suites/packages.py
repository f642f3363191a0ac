"""The packages of the suites, and how each is installed."""

from __future__ import annotations

from wmplan.suite_package import SuitePackage

METAWORLD = SuitePackage(
    "metaworld",
    module="metaworld",
    install=("--no-deps", "metaworld>=3.1.1"),  # it pins MuJoCo 3.3.0, and needs nothing that wmplan does not
    own=("metaworld>=3.1.1",),
    versions=("metaworld", "scipy"),
)
GYMNASIUM_ROBOTICS = SuitePackage(
    "gymnasium_robotics",
    module="gymnasium_robotics",
    install=("gymnasium-robotics>=1.4.2",),
    own=("gymnasium-robotics>=1.4.2",),
    versions=("gymnasium-robotics", "gymnasium"),
)
