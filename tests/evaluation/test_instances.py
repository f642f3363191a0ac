"""Held-out instances: reachable, not solved already, from the seed alone, and the same after reading them back."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wmplan.data.episode import episode_rng, run_episode
from wmplan.data.registered import make_environment
from wmplan.environment import PlanningEnvironment
from wmplan.errors import UserError
from wmplan.evaluation.instances import Instance, digest, generate_instances, load_instances, save_instances
from wmplan.evaluation.protocol import Protocol
from wmplan.random_streams import Stream

TASK = "wmplan.envs:wmplan/PushT-v0"
PROTOCOL = Protocol(offset=25, budget=50)


@pytest.fixture(scope="module")
def env() -> Iterator[PlanningEnvironment]:
    env = make_environment(TASK, {"image_size": 16})
    yield env
    env.close()


@pytest.fixture(scope="module")
def instances(env: PlanningEnvironment) -> list[Instance]:
    return generate_instances(env, PROTOCOL, 8, seed=0)


def test_the_recorded_actions_lead_exactly_to_the_goal(env: PlanningEnvironment, instances: list[Instance]) -> None:
    for instance in instances:
        instance.start(env)
        np.testing.assert_array_equal(env.get_state(), instance.state)
        for action in instance.actions:
            env.step_physics(action)  # type: ignore[arg-type]
        np.testing.assert_array_equal(env.get_state(), instance.goal_state)


def test_no_instance_is_solved_by_doing_nothing(env: PlanningEnvironment, instances: list[Instance]) -> None:
    for instance in instances:
        instance.start(env)
        start = env.task_state()
        states = np.concatenate([start[None], env.simulate(np.zeros((1, PROTOCOL.budget, 2)))[0]])
        for name, holds in env.task.rules(states, env.goal).items():
            assert not np.any(holds), name
        assert env.task.progress(start, env.goal)
        assert instance.start_distance == pytest.approx(float(env.task.distance(start, env.goal)))


def test_a_longer_list_begins_with_the_shorter_and_another_seed_is_another(
    env: PlanningEnvironment, instances: list[Instance]
) -> None:
    assert digest(generate_instances(env, PROTOCOL, 3, seed=0)) == digest(instances[:3])
    assert digest(generate_instances(env, PROTOCOL, 3, seed=1)) != digest(instances[:3])


def test_no_start_is_on_an_episode_of_the_collection(env: PlanningEnvironment, instances: list[Instance]) -> None:
    for instance in instances:
        collected = run_episode(env, episode_rng(0, instance.episode, Stream.COLLECTION), 100, pixels=False)[
            "physics_state"
        ]
        assert not np.any((collected == instance.state).all(axis=1))


def test_files_give_the_same_instances_back(tmp_path: Path, instances: list[Instance]) -> None:
    path = tmp_path / "instances.json"
    save_instances(path, instances, TASK, 0, PROTOCOL)
    read = load_instances(path)
    assert digest(read) == digest(instances)
    np.testing.assert_array_equal(read[2].state, instances[2].state)
    assert read[2].actions.dtype == np.float32


def test_states_that_are_not_finite_are_written_and_read_back(tmp_path: Path) -> None:
    state, goal = np.array([np.inf, 0.1, -np.inf]), np.array([np.nan, 1e300, 0])
    given = [Instance(0, 3, 5, state, goal, np.zeros((2, 1), np.float32), None)]
    save_instances(tmp_path / "instances.json", given, TASK, 0, PROTOCOL)
    (read,) = load_instances(tmp_path / "instances.json")
    np.testing.assert_array_equal(read.state, state)
    np.testing.assert_array_equal(read.goal_state, goal)
    assert read.state.dtype == np.float64 and digest([read]) == digest(given)


def test_a_changed_file_is_refused(tmp_path: Path, instances: list[Instance]) -> None:
    path = tmp_path / "instances.json"
    save_instances(path, instances, TASK, 0, PROTOCOL)
    content = json.loads(path.read_text())
    content["instances"][0]["state"][3] += 1e-9
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="was changed"):
        load_instances(path)
    path.write_text(path.read_text()[:500])
    with pytest.raises(UserError, match="does not hold instances"):
        load_instances(path)
    with pytest.raises(UserError, match="there is no"):
        load_instances(tmp_path / "other.json")


def test_variation_is_drawn_for_each_instance_and_replayed(env: PlanningEnvironment) -> None:
    varied = generate_instances(env, Protocol(variation=True), 2, seed=0)
    assert varied[0].variation["mass"] != varied[1].variation["mass"]
    varied[0].start(env)
    assert env.variation.factors["mass"] == varied[0].variation["mass"]
    for action in varied[0].actions:
        env.step_physics(action)  # type: ignore[arg-type]
    np.testing.assert_array_equal(env.get_state(), varied[0].goal_state)


def test_a_protocol_that_leaves_nothing_to_do_is_refused(
    env: PlanningEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wmplan.evaluation.instances.REFUSED_IN_A_ROW", 5)
    monkeypatch.setattr(env.task, "progress", lambda start, goal: np.bool_(False))
    with pytest.raises(UserError, match="gave no instance"):
        generate_instances(env, PROTOCOL, 1, seed=0)


@pytest.mark.parametrize("keep_solved", [False, True])
def test_a_goal_that_the_task_does_not_take_is_refused_by_every_protocol(
    env: PlanningEnvironment, monkeypatch: pytest.MonkeyPatch, keep_solved: bool
) -> None:
    protocol = replace(PROTOCOL, keep_solved=keep_solved)
    every = generate_instances(env, protocol, 6, seed=0)

    def goals(instances: list[Instance]) -> list[float]:
        found = []
        for one in instances:
            one.start(env)
            found.append(float(env.goal[0]))
        return found

    middle = float(np.median(goals(every)))
    monkeypatch.setattr(env.task, "may_be_goal", lambda state: state[..., 0] > middle, raising=False)
    left = generate_instances(env, protocol, 6, seed=0)
    assert min(goals(left)) > middle and len(set(goals(left))) == 6
    kept = [one.episode for one, goal in zip(every, goals(every), strict=True) if goal > middle]
    assert kept == [one.episode for one in left][: len(kept)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"goal": "text"}, "goal"),
        ({"offset": 0}, "offset"),
        ({"budget": 0}, "budget"),
        ({"offset": 200}, "episode_steps"),
    ],
)
def test_wrong_protocols_are_named(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Protocol(**settings)


def test_an_unknown_rule_is_named() -> None:
    with pytest.raises(UserError, match="no rule 'touch'; it has public, block"):
        Protocol(rule="touch").decided_by(["public", "block"])
