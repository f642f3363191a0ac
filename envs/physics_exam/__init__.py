"""Scenes of the intuitive-physics exam: what `wmplan physics` takes its clips from.

Importing this loads no simulator: that is loaded when the scenes are made.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from wmplan.registry import register_exam

if TYPE_CHECKING:
    from wmplan.envs.physics_exam.robot_exam import RobotExam
    from wmplan.envs.physics_exam.scenes import Scenes


@register_exam("scenes")
def scenes(image_size: tuple[int, int] = (64, 64)) -> Scenes:
    """Objects that slide, fly, bounce and pass behind screens; no robot."""
    from wmplan.envs.physics_exam.scenes import Scenes

    return Scenes(image_size)


@register_exam("pusht")
def pusht(image_size: tuple[int, int] = (64, 64)) -> RobotExam:
    """Push-T: the command has no effect, the block jumps, or it lets the pusher through."""
    from wmplan.envs.environment import Environment
    from wmplan.envs.physics_exam import pusht_exam, robot_exam
    from wmplan.envs.pusht import PushT

    env = Environment(PushT(), image_size)
    drafts = {
        "command": (partial(robot_exam.command, env), "the commanded speed, of the greatest"),
        "teleport": (partial(pusht_exam.teleport, env), "the jump in m"),
        "passing": (partial(pusht_exam.passing, env), "how far the block gets across in m"),
    }
    return robot_exam.RobotExam(env, drafts)


@register_exam("arm_reach")
def arm_reach(image_size: tuple[int, int] = (64, 64)) -> RobotExam:
    """The arm: its command has no effect."""
    from wmplan.envs.arm_reach import ArmReach
    from wmplan.envs.environment import Environment
    from wmplan.envs.physics_exam import robot_exam

    env = Environment(ArmReach(), image_size)
    drafts = {"command": (partial(robot_exam.command, env), "the commanded speed, of the greatest")}
    return robot_exam.RobotExam(env, drafts)
