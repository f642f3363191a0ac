"""What every task of a suite has to hold: exact replays, no success by doing nothing, an expert, no goal in frames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest

from wmplan.data.registered import make_environment
from wmplan.environment import has
from wmplan.environment_check import FAULTY, trials
from wmplan.errors import UserError
from wmplan.registry import TASKS

SUITE_TASKS = [name for name in TASKS if TASKS[name].suite is not None]


@pytest.fixture(params=SUITE_TASKS)
def task(request: pytest.FixtureRequest) -> str:
    suite = TASKS[request.param].suite
    assert suite is not None
    for module in suite.needs or (suite.module,):
        pytest.importorskip(module)
    if not suite.is_installed:
        pytest.skip(suite.advice)
    return str(request.param)


@pytest.fixture
def env(task: str) -> Iterator[Any]:
    made = make_environment(TASKS[task].id, {"image_size": 64})
    yield made
    made.close()


def play(env: Any, steps: int, seed: int) -> None:
    """Steps of the collection policy."""
    policy = env.exploration_policy(np.random.default_rng(seed))
    for _ in range(steps):
        env.step_physics(policy(env.task_state()))


def unsolved_start(env: Any, seeds: Iterator[int]) -> None:
    """A start of the suite's that is not solved, with some way to go: of Fetch some are."""
    for seed in seeds:
        env.reset(seed=seed)
        if env.task.distance(env.task_state(), env.goal) > 1.5:
            return


def trace(env: Any, actions: np.ndarray) -> list[np.ndarray]:
    """All that the environment tells after each of the actions, and the last frame."""
    told = []
    for action in actions:
        env.step_physics(action)
        told.append(np.concatenate([env.get_state(), env.task_state(), [env.succeeded]]))
    return [*told, env.render()]


def test_a_replay_after_having_been_elsewhere_is_exact(env: Any, task: str) -> None:
    env.reset(seed=5)
    play(env, 40, seed=1)  # to the middle of an episode
    start, frame = env.get_state(), env.render()
    low, high = env.task.action_low, env.task.action_high
    actions = np.repeat(np.random.default_rng(0).uniform(low, high, (20, len(low))), 5, axis=0)
    first = trace(env, actions)
    for seed in (6, 7):
        env.reset(seed=seed)
        play(env, 30, seed)
    other = make_environment(TASKS[task].id, {"image_size": 64})
    other.reset(seed=9)
    for one in (env, other):
        one.set_state(start)
        assert np.array_equal(one.get_state(), start) and np.array_equal(one.render(), frame)
        for before, again in zip(first, trace(one, actions), strict=True):
            np.testing.assert_array_equal(before, again)
    other.close()


def test_a_seed_gives_one_start_and_one_goal(env: Any, task: str) -> None:
    other = make_environment(TASKS[task].id, {"image_size": 64})
    env.reset(seed=8)
    start = env.get_state()
    play(env, 20, seed=0)
    for one in (env, other):
        one.reset(seed=8)
        np.testing.assert_array_equal(one.get_state(), start)
    np.testing.assert_array_equal(env.goal_state, other.goal_state)
    other.close()


def test_doing_nothing_is_no_success(env: Any) -> None:
    seeds = iter(range(100))
    for _ in range(5):
        unsolved_start(env, seeds)
        for _ in range(20):
            assert not env.succeeded
            env.step_physics(np.zeros(len(env.task.action_low)))


def test_the_expert_succeeds(env: Any) -> None:
    if not has(env, "expert"):
        pytest.skip("the suite has no expert")
    for seed in range(3):
        env.reset(seed=seed)
        expert = env.expert_policy(np.random.default_rng(0))
        for _ in range(type(env).expert_steps):
            env.step_physics(expert(env.task_state()))
        assert env.succeeded


def test_the_suites_own_goal_is_one(env: Any) -> None:
    unsolved_start(env, iter(range(3, 100)))
    start = env.get_state()
    goal = env.goal_state
    assert np.array_equal(env.get_state(), start) and not env.succeeded
    env.set_state(goal)
    assert env.succeeded and env.task.distance(env.task_state(), env.goal) == 0


def test_a_frame_tells_no_goal(env: Any) -> None:
    """Two goals, one state of robot and objects: one frame."""
    env.reset(seed=1)
    present, frame = env.get_state(), env.render()
    other = env.with_other_goal(present)
    assert not np.array_equal(other, present)
    env.set_state(other)
    np.testing.assert_array_equal(env.render(), frame)


def test_it_passes_every_trial_of_check_env(env: Any) -> None:
    faults = [line for line in trials(env, 0, 8) if line.status == FAULTY]
    assert faults == []


def test_frames_come_at_any_size(env: Any) -> None:
    env.reset(seed=0)
    assert env.render((224, 224)).shape == (224, 224, 3) and env.render().shape == (64, 64, 3)


def test_gymnasium_makes_it(task: str) -> None:
    env = gymnasium.make(TASKS[task].id, image_size=(32, 48))
    seen, info = env.reset(seed=0)
    assert env.observation_space.contains(seen) and seen["pixels"].shape == (32, 48, 3)
    seen, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert float(reward) <= 0 and not terminated and set(info) >= {"state", "success", "rules"}
    env.close()


def test_wrong_calls_are_named(env: Any) -> None:
    env.reset(seed=0)
    with pytest.raises(UserError, match="have no variation"):
        env.reset(options={"variation": True})
    with pytest.raises(UserError, match="no option 'colour'"):
        env.reset(options={"colour": 1})
    with pytest.raises(UserError, match="action has shape"):
        env.step_physics(np.zeros(9))
    with pytest.raises(UserError, match="not finite"):
        env.step_physics(np.full(len(env.task.action_low), np.nan))
    with pytest.raises(UserError, match="of other versions of the suite"):
        env.set_state(np.zeros(7))


def test_a_state_that_is_none_is_refused_and_changes_nothing(env: Any) -> None:
    env.reset(seed=0)
    play(env, 5, seed=0)
    present = env.get_state()
    endless = np.where(np.arange(len(present)) == 3, np.inf, present)
    for state, says in [
        (np.full_like(present, np.nan), "state holds numbers that are not finite"),
        (endless, "state holds numbers that are not finite"),
        (present[None], r"has shape \(\d+,\), the one given has \(1, \d+\)"),
        ("middle", "a full state is a row of .* numbers, got str"),
        ({"robot": 1}, "a full state is a row of .* numbers, got dict"),
    ]:
        for call in (env.set_state, env.set_goal, lambda one: env.reset(options={"state": one})):
            with pytest.raises(UserError, match=says):
                call(state)
            np.testing.assert_array_equal(env.get_state(), present)
