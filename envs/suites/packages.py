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
OGBENCH = SuitePackage(
    "ogbench",
    module="ogbench",
    install=("ogbench>=1.2",),
    own=("ogbench>=1.2",),
    versions=("ogbench", "dm_control"),
)
DM_CONTROL = SuitePackage(
    "dm_control",
    module="dm_control",
    install=("dm_control>=1.0.28",),
    own=("dm_control>=1.0.28",),
    versions=("dm_control",),
)
GYM_PUSHT = SuitePackage(
    "gym_pusht",
    module="gym_pusht",
    install=("gym-pusht>=0.1.8",),
    own=("gym-pusht>=0.1.8",),
    versions=("gym-pusht", "pymunk"),
)
# The environments of stable-worldmodel need these alone; the rest of it needs a torchvision that fits torch.
_SWM = (
    *("--no-deps", "stable-worldmodel>=0.1.1", "pymunk>=7", "cffi", "pycparser"),
    *("pygame", "shapely", "opencv-python-headless", "loguru"),
)
STABLE_WORLDMODEL = SuitePackage(
    "swm",
    module="stable_worldmodel",
    install=_SWM,
    own=_SWM,
    versions=("stable-worldmodel", "pymunk"),
    needs=("pymunk", "pygame", "shapely", "cv2", "loguru"),
)
