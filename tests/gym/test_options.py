"""What a user says of an environment, env.KEY=VALUE: frames, robot state, task state, success, rate and bounds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from wmplan.data.registered import make_environment
from wmplan.environment import has
from wmplan.environment_check import FAULTY, trials
from wmplan.errors import UserError
from wmplan.evaluation.success import judge_states
from wmplan.gym.adapter import adapt
from wmplan.gym.options import AdapterOptions, load_function, split_options

sys.path.append(str(Path(__file__).parents[1]))
from plain_point import SIZE, OpenPoint, PlainPoint

MINE = """
import numpy as np

def close(state, goal):
    return np.linalg.norm(state - goal, axis=-1) < 0.3

def far(state, goal):
    return np.linalg.norm(state - goal, axis=-1) / 0.3

def all_at_once(state, goal):
    return bool((state == goal).all())

def fingertip(env):
    return env.get_body_com("fingertip")[:2]

def angles(env):
    return env.data.qpos[:2]

def matrix(env):
    return np.eye(2)

number = 3
"""


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "my_rules.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("my_rules", None)


class DictPoint(PlainPoint):
    """It observes a frame, its place and its speed by name."""

    def __init__(self, render_mode: str | None = "rgb_array") -> None:
        super().__init__(render_mode)
        box = gymnasium.spaces.Box
        self.observation_space = gymnasium.spaces.Dict(
            {
                "camera": box(0, 255, (SIZE, SIZE, 3), np.uint8),
                "place": box(-1, 1, (2,)),
                "speed": box(-1, 1, (1,)),
            }
        )

    def told(self) -> Any:
        frame = 255 - self.picture(self.point)
        return {"camera": frame, "place": self.point.astype(np.float32), "speed": np.float32([0.5])}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self.told(), {}

    def step(self, action: Any) -> Any:
        _, *rest = super().step(action)
        return self.told(), *rest


def adapted(kind: Any = PlainPoint, **options: Any) -> Any:
    env = adapt(kind("rgb_array"), None, AdapterOptions(**options))
    env.reset(seed=3)
    return env


def test_options_of_the_adapter_are_told_from_those_of_the_environment() -> None:
    own, rest = split_options({"pixels": "render", "frame_skip": 4, "image_size": [8, 8], "action_low": -1})
    assert own == AdapterOptions(pixels="render", action_low=[-1.0])
    assert rest == {"frame_skip": 4, "image_size": [8, 8]}
    with pytest.raises(UserError, match="control_rate must be above 0, got 0"):
        AdapterOptions(control_rate=0)


def test_frames_come_from_where_they_are_told_to() -> None:
    env = adapted(DictPoint)
    np.testing.assert_array_equal(env.render(), env.picture(env.point))
    env = adapted(DictPoint, pixels="camera")
    np.testing.assert_array_equal(env.render(), 255 - env.picture(env.point))
    assert env.observe()["pixels"].shape == (SIZE, SIZE, 3) and env.render((8, 8)).shape == (8, 8, 3)
    with pytest.raises(UserError, match="env.pixels must be one of render, camera, got 'place'"):
        adapted(DictPoint, pixels="place")


def test_a_picture_of_the_key_pixels_comes_before_render() -> None:
    class Pixels(DictPoint):
        def __init__(self, render_mode: str | None = "rgb_array") -> None:
            super().__init__(render_mode)
            spaces = dict(self.observation_space.spaces)  # type: ignore[attr-defined]  # a Dict
            self.observation_space = gymnasium.spaces.Dict({**spaces, "pixels": spaces["camera"]})

        def told(self) -> Any:
            return {**super().told(), "pixels": self.picture(self.point) // 2}

    env = adapted(Pixels)
    np.testing.assert_array_equal(env.observe()["pixels"], env.picture(env.point) // 2)
    env = adapted(Pixels, pixels="render")
    np.testing.assert_array_equal(env.observe()["pixels"], env.picture(env.point))


def test_robot_state_and_task_state_are_rows_of_the_observation() -> None:
    env = adapted(DictPoint)
    assert not has(env, "proprioception")
    assert env.task.state_names == ("observation_0", "observation_1", "observation_2")
    np.testing.assert_allclose(env.task_state(), [*env.point, 0.5], rtol=1e-6)
    env = adapted(DictPoint, proprio="place", state=None)
    np.testing.assert_allclose(env.observe()["proprio"], env.point, rtol=1e-6)
    env = adapted(PlainPoint, proprio="observation")
    np.testing.assert_allclose(env.observe()["proprio"], env.point, rtol=1e-6)
    with pytest.raises(UserError, match=r"env.proprio must be a row of numbers .*\(place, speed\).*, got 'camera'"):
        adapted(DictPoint, proprio="camera")


def test_a_rule_says_yes_or_how_far() -> None:
    states, goal = np.array([[0.0, 0.0], [0.9, 0.0], [0.9, 0.2], [0.0, 0.0]]), np.array([1.0, 0.0])
    for rule, distance in (("close", [2, 0, 0, 2]), ("far", [10 / 3, 1 / 3, 0.05**0.5 / 0.3, 10 / 3])):
        env = adapted(OpenPoint, success=f"my_rules:{rule}")
        np.testing.assert_allclose(env.task.distance(states, goal), distance)
        judged = judge_states(env, states, goal)[rule]
        assert judged == {"success": True, "success_step": 1, "success_at_end": False}
        assert env.task.progress(states, goal).tolist() == [True, False, False, True]
    with pytest.raises(UserError, match=r"all_at_once\(state, goal\) must give one value for states of any leading"):
        adapted(OpenPoint, success="my_rules:all_at_once").task.rules(states, goal)
    with pytest.raises(UserError, match="compares states with a goal, and there is none: it holds no numbers"):
        adapted(PlainPoint, success="my_rules:close")


def test_success_may_be_an_entry_of_info_or_the_end() -> None:
    assert adapted(success="terminated").succeeded is False
    assert adapted(success="is_success").succeeded is False
    with pytest.raises(UserError, match="env.success must be an entry of info or a function, MODULE:NAME, got 'done'"):
        adapted(success="done")


def test_functions_that_are_none_are_named() -> None:
    for path, says in (
        ("my_rules:nothing", "cannot be loaded: AttributeError"),
        ("no_such_module:rule", "cannot be loaded: ModuleNotFoundError"),
        ("my_rules:number", "must be a function or a class, it is int"),
        ("my_rules:", "must be MODULE:NAME"),
    ):
        with pytest.raises(UserError, match=f"env.success.*{says}"):
            load_function(path, "env.success")


def test_bounds_may_be_narrower() -> None:
    env = adapted(action_low=-0.2, action_high=[0.2, 0.1])
    assert env.task.action_low.tolist() == [-0.2, -0.2] and env.task.action_high.tolist() == [0.2, 0.1]
    with pytest.raises(UserError, match="env.action_high must be a number or 2 of them, within"):
        adapted(action_high=0.7)
    assert adapted(control_rate=12).control_rate == 12


def test_functions_of_a_mujoco_environment_give_the_same_after_a_state_is_restored() -> None:
    options = {"state": "my_rules:fingertip", "proprio": "my_rules:angles", "success": "my_rules:far", "image_size": 32}
    env: Any = make_environment("Reacher-v5", options)
    assert env.task.state_names == ("fingertip_0", "fingertip_1")
    assert {line.name: line.said for line in trials(env, 0, 20) if line.status == FAULTY} == {}
    env.reset(seed=1)
    for _ in range(5):
        env.step_physics(np.array([0.3, -0.5]))
    state, tip, own = env.get_state(), env.task_state(), env.observe()["proprio"]
    env.step_physics(np.array([1.0, 1.0]))
    env.set_state(state)
    np.testing.assert_array_equal(env.task_state(), tip)
    np.testing.assert_array_equal(env.observe()["proprio"], own)
    np.testing.assert_allclose(own, env.data.qpos[:2], rtol=1e-6)
    env.close()
    with pytest.raises(UserError, match="env.state=my_rules:matrix must give a row of numbers, got the shape"):
        make_environment("Reacher-v5", {"state": "my_rules:matrix"})


def test_a_task_that_says_all_itself_takes_no_such_option() -> None:
    with pytest.raises(UserError, match="it says itself what env.pixels would: leave that out"):
        make_environment("wmplan.envs:wmplan/PushT-v0", {"pixels": "render"})


def test_a_package_that_drawing_lacks_is_one_line() -> None:
    class Undrawn(PlainPoint):
        def render(self) -> Any:
            raise gymnasium.error.DependencyNotInstalled("pygame is not installed")

    with pytest.raises(UserError, match="Undrawn cannot be drawn: pygame is not installed"):
        adapt(Undrawn())
