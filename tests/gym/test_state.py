"""The full state that is found of a Gymnasium environment replays bit for bit, or there is none, with the reason."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest

from wmplan.data.episode import run_episode
from wmplan.data.registered import make_environment
from wmplan.environment import has, why_not
from wmplan.environment_check import FAULTY, trials
from wmplan.errors import UserError
from wmplan.gym.adapter import adapt
from wmplan.gym.options import AdapterOptions

sys.path.append(str(Path(__file__).parents[1]))
from plain_point import SIZE, OpenPoint


class HiddenPoint(OpenPoint):
    """What moves it on is not among its attributes."""

    def __init__(self, render_mode: str | None = "rgb_array") -> None:
        self.hidden = SimpleNamespace(drift=0.0)
        super().__init__(render_mode)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.hidden.drift = 0.0
        return super().reset(seed=seed)

    def step(self, action: Any) -> Any:
        self.hidden.drift += 0.01
        self.where = self.where - self.hidden.drift
        return super().step(action)


class PicturePoint(OpenPoint):
    """It observes pictures, channels first."""

    def __init__(self, render_mode: str | None = "rgb_array") -> None:
        super().__init__(render_mode)
        self.observation_space = gymnasium.spaces.Box(0, 255, (1, SIZE, SIZE), np.uint8)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return self.picture(super().reset(seed=seed)[0])[None, ..., 0], {}

    def step(self, action: Any) -> Any:
        seen, *rest = super().step(action)
        return self.picture(seen)[None, ..., 0], *rest


def faults(env: Any, steps: int = 20) -> dict[str, str]:
    return {line.name: line.said for line in trials(env, 0, steps) if line.status == FAULTY}


def test_numbers_that_an_environment_holds_are_its_state() -> None:
    env = adapt(gymnasium.wrappers.TimeLimit(OpenPoint(), 30))
    assert has(env, "state", "goals", "goal_state", "simulator") and not env.absent
    assert faults(env) == {}
    env.reset(seed=5)
    for _ in range(4):
        env.step_physics(np.array([1, 0.5]))
    state, frame = env.get_state(), env.render()
    env.reset(seed=6)
    env.set_state(state)
    inner = env.env.unwrapped
    assert (inner.count, inner.moved) == (4, True) and isinstance(inner.count, int) and isinstance(inner.moved, bool)
    assert inner.velocity.dtype == np.float32 and inner.last.tolist() == [1, 0.5]
    np.testing.assert_array_equal(env.render(), frame)
    np.testing.assert_array_equal(env.observe()["pixels"], frame)
    env.reset(seed=5)
    assert inner.last is None
    env.set_state(env.get_state())
    assert inner.last is None


def test_the_time_limit_is_part_of_a_state_and_begins_anew_with_an_episode_from_one() -> None:
    env = adapt(gymnasium.wrappers.TimeLimit(PlainOpen(), 10))
    env.reset(seed=0)
    for _ in range(7):
        env.step_physics(np.zeros(2))
    state = env.get_state()

    def steps_left() -> int:
        for step in range(1, 30):
            env.step_physics(np.zeros(2))
            if env.ended:
                return step
        raise AssertionError

    assert steps_left() == 3
    env.set_state(state)
    assert not env.ended and steps_left() == 3
    env.reset(options={"state": state})
    assert steps_left() == 10


class PlainOpen(OpenPoint):
    """Without an end of its own."""

    def step(self, action: Any) -> Any:
        self.count = 0
        return super().step(action)


def test_what_no_replay_confirms_is_no_state() -> None:
    env = adapt(HiddenPoint())
    assert not has(env, "state") and not has(env, "goal_state")
    assert "replay from the numbers it holds has another observation at step 1" in env.absent["state"]
    assert "another observation" in (why_not(env, ("state",)) or "")
    assert faults(env) == {}
    (line,) = [line for line in trials(env, 0, 5) if line.name == "state"]
    assert line.status == "missing" and "another observation" in line.said and "no episode can be started" in line.said


def test_an_offered_state_comes_first() -> None:
    class Offering(HiddenPoint):
        def get_state(self) -> Any:
            last = np.zeros(2) if self.last is None else self.last
            known = (self.hidden.drift, self.count, self.moved, self.last is not None)
            return np.concatenate([self.where, self.velocity, last, known])

        def set_state(self, state: Any) -> None:
            self.where, self.velocity = state[:2].copy(), state[2:4].astype(np.float32)
            self.last = state[4:6].astype(np.float32) if state[9] else None
            self.hidden.drift, self.count, self.moved = state[6], int(state[7]), bool(state[8])

    env = adapt(Offering())
    assert has(env, "state") and faults(env) == {}
    assert len(env.get_state()) == 2 + 2 + 10  # flags, observation, its own


def test_a_goal_is_any_state_and_rollouts_begin_anywhere() -> None:
    env = adapt(OpenPoint())
    env.reset(seed=1)
    for _ in range(6):
        env.step_physics(np.array([1, -0.5]))
    wanted, seen = env.get_state(), env.render()
    env.reset(seed=2, options={"goal_state": wanted})
    here = env.get_state()
    np.testing.assert_array_equal(env.goal_observation()["pixels"], seen)
    np.testing.assert_array_equal(env.get_state(), here)
    env.reset(seed=2)
    np.testing.assert_array_equal(env.goal_observation()["pixels"], env.render())  # the start, until one is set
    with pytest.raises(UserError, match="state must have"):
        env.set_state(np.zeros(3))
    with pytest.raises(UserError, match="variation"):
        env.reset(options={"variation": {"mass": 1.0}})


def test_rollouts_stay_at_the_end_of_an_episode() -> None:
    env = adapt(gymnasium.wrappers.TimeLimit(OpenPoint(), 5))
    env.reset(seed=0)
    states = env.simulate(np.full((2, 8, 2), 0.1))
    assert states.shape == (2, 8, 2) and (states[:, 4:] == states[:, 4:5]).all() and not env.ended
    assert (states[:, 3] != states[:, 4]).all()


def test_frames_that_are_observed_have_no_state_unless_render_gives_them() -> None:
    env = adapt(PicturePoint())
    env.reset(seed=0)
    assert not has(env, "state") and "env.pixels=render" in env.absent["state"]
    assert env.render().shape == (SIZE, SIZE, 3) and env.render((8, 8)).shape == (8, 8, 3)
    np.testing.assert_array_equal(env.render(), env.picture(env.point))
    assert faults(env) == {}


def test_numbers_beside_a_picture_are_restored_with_the_state() -> None:
    class Beside(OpenPoint):
        def __init__(self, render_mode: str | None = "rgb_array") -> None:
            super().__init__(render_mode)
            box = gymnasium.spaces.Box
            parts = {"camera": box(0, 255, (SIZE, SIZE, 3), np.uint8), "place": box(-1, 1, (2,))}
            self.observation_space = gymnasium.spaces.Dict(parts)

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            return {"camera": self.picture(self.point), "place": super().reset(seed=seed)[0]}, {}

        def step(self, action: Any) -> Any:
            place, *rest = super().step(action)
            return {"camera": self.picture(self.point), "place": place}, *rest

    env = adapt(Beside(), options=AdapterOptions(proprio="place"))
    assert faults(env) == {}
    env.reset(seed=1)
    start, place = env.get_state(), env.point.astype(np.float32)
    for _ in range(5):
        env.step_physics(np.array([1, 0.5]))
    assert (env.task_state() != place).all()
    env.set_state(start)
    np.testing.assert_array_equal(env.task_state(), place)
    np.testing.assert_array_equal(env.observe()["proprio"], place)
    env.reset(seed=2, options={"goal_state": start})
    np.testing.assert_array_equal(env.goal, place)
    np.testing.assert_array_equal(env.goal_observation()["proprio"], place)


def test_numbers_that_are_whole_at_first_are_restored_with_their_fraction() -> None:
    class Lifting(OpenPoint):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            self.height, self.levels = 0, np.zeros(2, int)
            return super().reset(seed=seed)

        def step(self, action: Any) -> Any:
            if self.count >= 15:  # later than what is tried
                self.height, self.levels = self.height + 0.3, self.levels + [0.25, np.inf]
            return super().step(action)

    env = adapt(Lifting())
    assert has(env, "state"), env.absent
    inner = env.env
    env.reset(seed=1)
    begun = env.get_state()
    for _ in range(17):
        env.step_physics(np.zeros(2))
    state, height = env.get_state(), inner.height
    env.set_state(begun)
    assert (type(inner.height), inner.levels.dtype) == (int, int) and (inner.height, inner.levels.tolist()) == (
        0,
        [0, 0],
    )
    env.set_state(state)
    assert inner.height == height == 0.6 and inner.levels.tolist() == [0.5, np.inf]


def test_clocks_and_counts_over_all_episodes_are_no_state_unless_a_replay_needs_them() -> None:
    class Counting(OpenPoint):
        episodes, wind = 0, 0.0

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            self.episodes = self.episodes + 1
            return super().reset(seed=seed)

        def step(self, action: Any) -> Any:
            self.point = self.point + self.wind * self.episodes
            return super().step(action)

    class Windy(Counting):
        wind = -0.001

    def state_after(resets: int, kind: type[OpenPoint]) -> Any:
        env = adapt(gymnasium.wrappers.RecordEpisodeStatistics(kind()))
        assert has(env, "state"), env.absent
        assert not {"state", "simulator"} & set(faults(env))
        for _ in range(resets):
            env.reset(seed=1)
        env.step_physics(np.array([1, 0.5]))
        return env.get_state()

    np.testing.assert_array_equal(state_after(1, Counting), state_after(2, Counting))
    assert (state_after(1, Windy) != state_after(2, Windy)).any()


def test_numbers_that_are_not_finite_are_restored_from_a_finite_state() -> None:
    class Record(OpenPoint):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            self.nearest, self.bounds = np.inf, np.array([-np.inf, np.nan, 0.5], np.float32)
            return super().reset(seed=seed)

        def step(self, action: Any) -> Any:
            seen, *rest = super().step(action)
            if self.count > 5:
                self.nearest, self.bounds = float(np.abs(self.point).max()), np.zeros(3, np.float32)
            return seen, *rest

    env = adapt(Record())
    assert has(env, "state") and faults(env) == {}
    inner = env.env
    env.reset(seed=1)
    begun = env.get_state()
    assert np.isfinite(begun).all()
    for _ in range(8):
        env.step_physics(np.ones(2) / 2)
    assert inner.nearest <= 1
    env.set_state(begun)
    assert inner.nearest == np.inf and inner.bounds.dtype == np.float32
    np.testing.assert_array_equal(inner.bounds, np.float32([-np.inf, np.nan, 0.5]))


@pytest.mark.parametrize("task", ["Reacher-v5", "InvertedPendulum-v5", "Hopper-v5"])
def test_gymnasiums_mujoco_environments_have_states(task: str) -> None:
    env: Any = make_environment(task, {"image_size": [24, 32]})
    assert has(env, "state", "goals", "goal_state", "simulator", "task_state")
    assert faults(env, 4) == {}
    assert env.render().shape == (24, 32, 3) and env.render((48, 40)).shape == (48, 40, 3)
    env.close()


def test_mocap_userdata_and_what_a_reset_changes_of_the_model_are_restored(tmp_path: Any) -> None:
    from gymnasium.envs.mujoco import MujocoEnv

    xml = tmp_path / "mocap.xml"
    xml.write_text(
        """<mujoco><size nuserdata="2"/><worldbody><light pos="0 0 2"/>
        <body name="target" mocap="true" pos="0 0 .2"><geom size=".05" rgba="1 0 0 1"/></body>
        <site name="mark" pos=".2 0 .1" size=".04" rgba="0 1 0 1"/>
        <body name="ball" pos="0 0 .5"><joint type="slide" axis="1 0 0" name="x"/><geom size=".1"/></body>
        </worldbody><actuator><motor joint="x" ctrlrange="-1 1"/></actuator></mujoco>"""
    )

    class Mocap(MujocoEnv):
        metadata = {"render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"]}

        def __init__(self) -> None:
            space = gymnasium.spaces.Box(-np.inf, np.inf, (7,), np.float64)
            super().__init__(str(xml), 5, space, render_mode="rgb_array")

        def seen(self) -> Any:
            data = self.data
            return np.concatenate([data.qpos, data.mocap_pos[0], data.userdata, self.model.site_pos[0][:1]])

        def step(self, action: Any) -> Any:
            self.data.mocap_pos[0, 0] += 0.01 + 0.001 * self.data.site_xpos[0, 0]
            self.data.userdata[0] += self.data.mocap_pos[0, 0]
            self.do_simulation(action, 5)
            return self.seen(), 0.0, False, False, {}

        def reset_model(self) -> Any:
            self.model.site_pos[0, 0] = self.np_random.uniform(-0.5, 0.5)
            return self.seen()

    env = adapt(Mocap(), (24, 24))
    assert has(env, "state"), env.absent
    assert faults(env) == {}
    env.reset(seed=3)
    state, mark, frame = env.get_state(), env.model.site_pos[0, 0], env.render()
    env.reset(seed=4)
    assert env.model.site_pos[0, 0] != mark
    env.set_state(state)
    assert env.model.site_pos[0, 0] == mark
    np.testing.assert_array_equal(env.render(), frame)
    env.close()


def test_states_and_proprioception_are_recorded_without_a_frame() -> None:
    """Instances of an evaluation are found in hundreds of episodes, of which no frame is looked at."""

    class CountedPoint(OpenPoint):
        drawn = 0

        def render(self) -> Any:
            self.drawn += 1
            return super().render()

    env = adapt(CountedPoint(), options=AdapterOptions(proprio="observation"))
    before = env.env.unwrapped.drawn
    alone = run_episode(env, np.random.default_rng(0), 12, pixels=False)
    assert env.env.unwrapped.drawn == before
    whole = run_episode(env, np.random.default_rng(0), 12)
    assert set(whole) - set(alone) == {"pixels"} and env.env.unwrapped.drawn > before + 12
    for name, column in alone.items():
        np.testing.assert_array_equal(column, whole[name])
