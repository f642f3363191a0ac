"""A task from an MJCF: what the class does not say is read off the model, and what is wrong with it is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wmplan.environment_check import FAULTY, trials
from wmplan.envs.mjcf import MJCFTask
from wmplan.errors import UserError

XML = """<mujoco><compiler angle="radian"/><option timestep="0.005" gravity="0 0 0"/><worldbody><light pos="0 0 2"/>
<camera name="top" pos="0 0 1.5"/>
<body><joint name="turn" type="hinge" axis="0 0 1" damping="1"/><geom type="capsule" size=".03" fromto="0 0 0 .3 0 0"/>
<body pos=".3 0 0"><joint name="slide" type="slide" axis="1 0 0" range="-.1 .2" limited="true" damping="1"/>
<geom size=".05" rgba="1 0 0 1"/></body></body>
<body pos="-.3 0 0"><freejoint/><geom size=".06" rgba="0 1 0 1" contype="0" conaffinity="0"/></body>
</worldbody><actuator><motor joint="turn" ctrlrange="-1 1"/><position name="out" joint="slide" kp="5" CTRL/></actuator>
</mujoco>"""


def task_of(folder: Path, ctrl: str = 'ctrlrange="-.1 .2"', view: str = "top", **attributes: Any) -> MJCFTask:
    path = folder / "robot.xml"
    path.write_text(XML.replace("CTRL", ctrl))
    return type("Robot", (MJCFTask,), {"xml": path, "camera": view, **attributes})()


def test_names_bounds_and_rate_are_those_of_the_model(tmp_path: Path) -> None:
    task = task_of(tmp_path, rate=20)
    assert task.action_names == ("actuator_0", "out") and task.substeps == 10
    assert task.action_low.tolist() == [-1, -0.1] and task.action_high.tolist() == [1, 0.2]
    assert task.state_names == ("turn", "slide", *(f"qpos_{i}" for i in range(2, 9)))
    assert task.proprio_names == ("turn", "slide")


def test_an_mjcf_alone_passes_every_trial_of_an_environment(tmp_path: Path) -> None:
    env = type(task_of(tmp_path)).environment(image_size=32)
    assert {line.name: line.said for line in trials(env, 0, 12) if line.status == FAULTY} == {}
    starts = []
    for seed in range(20):
        env.reset(seed=seed)
        starts.append(env.task_state())
    turn, slide, rest = np.stack(starts)[:, 0], np.stack(starts)[:, 1], np.stack(starts)[:, 2:]
    assert np.ptp(turn) > 4 and np.abs(turn).max() <= np.pi
    assert np.ptp(slide) > 0.2 and slide.min() >= -0.1 and slide.max() <= 0.2
    assert np.ptp(rest, axis=0).max() == 0
    env.close()


def test_the_goal_is_near_in_every_joint_and_around_the_circle(tmp_path: Path) -> None:
    task = task_of(tmp_path, tolerance=0.2)
    goal = np.zeros(9)
    goal[0] = np.pi - 0.05
    state = goal.copy()
    state[0] = -np.pi + 0.05
    assert task.distance(state, goal) == pytest.approx(0.5) and task.rules(state, goal)["there"]
    state[1] = 0.3
    assert task.distance(state, goal) == pytest.approx(1.5) and not task.rules(state, goal)["there"]


def test_what_is_missing_in_an_mjcf_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"robot.xml has no camera 'side'"):
        task_of(tmp_path, view="side")
    with pytest.raises(UserError, match="every actuator must have a ctrlrange, 1 have none"):
        task_of(tmp_path, ctrl="")
