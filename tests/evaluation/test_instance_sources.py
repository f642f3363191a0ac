"""Instances of every source: the same from the same seed, a longer list begins with the shorter one, hashes hold."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wmplan.data.collection import CollectConfig, collect
from wmplan.data.registered import make_environment
from wmplan.errors import UserError
from wmplan.evaluation import Protocol, evaluate, load_episode
from wmplan.evaluation.instance_sources import (
    InstanceFile,
    OwnGoals,
    PolicyEpisodes,
    RecordedEpisodes,
    instance_source,
)
from wmplan.evaluation.instances import digest, save_instances

TASK = "wmplan.envs:wmplan/PushT-v0"
PROTOCOL = Protocol(offset=12, budget=5, episode_steps=40)
RECORDED = {  # of 10 instances by the default protocol, before there were other sources than the policy
    ("PushT", 0): "bff1055b65506e363108a105af2c73942e8b86ab9e1a6a6681cdd0639e619810",
    ("PushT", 5): "b48b2938cb8c771bc7f48e948130bf69d5ff34e5747ac421e6e62618eb31d7a0",
    ("ArmReach", 0): "e7ecfa72e8f56deb49e9b36e1c6bbfe18b178b299cb67f60e9e768cd1e933153",
    ("ArmReach", 5): "c462ee26fd17fadb9d836b20efaac976c1fe1a1c8b6cc358433a165d666ac9e1",
}
MADE_WITH = ("x86_64", "4.0.0")


@pytest.fixture(scope="module", autouse=True)
def strangers() -> Iterator[None]:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    yield
    sys.path.remove(str(Path(__file__).parents[1]))


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    env = make_environment(TASK, {"image_size": 16})
    yield env
    env.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("recorded") / "data"
    config = CollectConfig(TASK, str(out), 12, steps=30, seed=4, image_size=(8, 8), variation=True, processes=1)
    collect(config, progress=False)
    return out


@pytest.mark.skipif((platform.machine(), version("mujoco")) != MADE_WITH, reason="another machine moves otherwise")
@pytest.mark.parametrize(("task", "seed"), RECORDED)
def test_the_policys_instances_are_those_of_before(task: str, seed: int) -> None:
    env = make_environment(f"wmplan.envs:wmplan/{task}-v0", {})
    assert digest(PolicyEpisodes().instances(env, Protocol(), 10, seed)) == RECORDED[task, seed]
    env.close()


def test_every_source_depends_on_its_seed_alone_and_begins_alike(env: Any, data: Path) -> None:
    for source in (PolicyEpisodes(), OwnGoals(), RecordedEpisodes(str(data))):
        instances = source.instances(env, PROTOCOL, 4, 3)
        assert [one.instance for one in instances] == [0, 1, 2, 3]
        assert digest(source.instances(env, PROTOCOL, 2, 3)) == digest(instances[:2])
        assert digest(source.instances(env, PROTOCOL, 2, 5)) != digest(instances[:2])


def test_recorded_actions_lead_from_the_recorded_start_to_the_goal(env: Any, data: Path) -> None:
    instances = RecordedEpisodes(str(data)).instances(env, PROTOCOL, 4, 0)
    assert len({one.episode for one in instances}) == 4
    for one in instances:
        one.start(env)
        assert env.variation.factors["mass"] == one.variation["mass"]
        for action in one.actions:
            env.step_physics(action)
        np.testing.assert_array_equal(env.get_state(), one.goal_state)


def test_a_strangers_data_gives_the_same_instances(env: Any, data: Path, tmp_path: Path) -> None:
    import npz_episodes

    from wmplan.data import EpisodeStore

    store = EpisodeStore.open(data)
    theirs = npz_episodes.write(tmp_path / "theirs", [store.episode(index) for index in range(len(store))])
    ours = RecordedEpisodes(str(data)).instances(env, PROTOCOL, 3, 1)
    assert digest(RecordedEpisodes(str(theirs)).instances(env, PROTOCOL, 3, 1)) == digest(ours)
    result = evaluate(
        None, TASK, tmp_path / "out", protocol=PROTOCOL, episodes=3, seed=1, rows=["replay"], workers=1,
        instances=str(theirs), environment={"image_size": [16, 16]},
    )  # fmt: skip
    assert result["instances_sha256"] == digest(ours)
    assert result["protocol"]["held_out"] is None and result["settings"]["instances"] == str(theirs)


def test_own_goals_are_what_a_reset_gives(env: Any) -> None:
    first, second = OwnGoals().instances(env, PROTOCOL, 2, 0)
    first.start(env)
    state, goal = env.get_state(), env.goal
    second.start(env)
    assert not np.array_equal(env.goal, goal)
    first.start(env)
    np.testing.assert_array_equal(env.get_state(), state)
    np.testing.assert_array_equal(env.goal, goal)
    assert first.start_distance == pytest.approx(float(env.task.distance(env.task_state(), goal)))


def test_a_file_or_folder_gives_back_what_it_holds(env: Any, tmp_path: Path) -> None:
    for source in (PolicyEpisodes(), OwnGoals()):
        instances = source.instances(env, PROTOCOL, 3, 0)
        save_instances(tmp_path / "instances.json", instances, TASK, 0, PROTOCOL)
        for path in (tmp_path, tmp_path / "instances.json"):
            found = instance_source(str(path))
            assert isinstance(found, InstanceFile)
            assert digest(found.instances(env, PROTOCOL, 2, 9)) == digest(instances[:2])
    with pytest.raises(UserError, match="holds 3 instances, episodes is 4"):
        found.instances(env, PROTOCOL, 4, 0)


def test_instances_of_another_task_are_refused_also_where_its_states_have_the_same_size(
    env: Any, tmp_path: Path
) -> None:
    instances = PolicyEpisodes().instances(env, PROTOCOL, 1, 0)
    for task, refused in [
        (
            "wmplan.envs:wmplan/PointMazeMedium-v0",
            "are of pointmaze_medium, this task is pusht: give instances of pusht",
        ),
        (TASK, None),
        ("wmplan/PushT-v0", None),
        ("mine:mine/PushT-v0", None),  # of a task of somebody's own, which may have the same states
    ]:
        save_instances(tmp_path / "instances.json", instances, task, 0, PROTOCOL)
        source = instance_source(str(tmp_path))
        if refused is None:
            assert digest(source.instances(env, PROTOCOL, 1, 0)) == digest(instances)
        else:
            with pytest.raises(UserError, match=refused):
                source.instances(env, PROTOCOL, 1, 0)


def test_what_gives_no_instance_is_named(env: Any, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="instances must be policy, goals, .*got 'nowhere'"):
        instance_source("nowhere")
    with pytest.raises(UserError, match=r"gives \d+ instances, episodes is 13: .*protocol.offset"):
        RecordedEpisodes(str(data)).instances(env, PROTOCOL, 13, 0)
    with pytest.raises(UserError, match="gives 0 instances"):
        RecordedEpisodes(str(data)).instances(env, Protocol(offset=31, budget=5), 1, 0)
    shutil.copytree(data, tmp_path / "data")
    plain = make_environment("plain_point:wmplan_tests/PlainPoint-v0", {})
    for source in ("policy", str(data)):
        with pytest.raises(UserError, match=r"cannot be had: .*get_state, set_state \(ability state: a replay"):
            instance_source(source).instances(plain, PROTOCOL, 1, 0)


def test_a_plain_environment_is_evaluated_on_its_own_goals(tmp_path: Path) -> None:
    """It has no states, no rules and no distance: success is what it says, frames are kept, rows say why not."""
    protocol = Protocol(budget=9)
    task = "plain_point:wmplan_tests/GoalPoint-v0"
    result = evaluate(
        None, task, tmp_path / "out", protocol=protocol, episodes=6, rows=["noop", "random", "replay", "oracle"],
        instances="goals", workers=1, environment={"image_size": [16, 16]},
    )  # fmt: skip
    assert list(result["rows"]) == ["noop", "random"]
    assert set(result["rows_absent"]) == {"replay", "oracle"} and "simulate" in result["rows_absent"]["oracle"]
    assert result["protocol"]["rule"] == "environment" and set(result["rows"]["noop"]["rules"]) == {"environment"}
    assert result["rows"]["noop"]["success"] == 0 and result["rows"]["noop"]["final_distance"] is None
    for one in result["per_episode"]:
        episode = load_episode(tmp_path / "out" / one["file"])
        assert episode["frames"].shape == (len(episode["actions"]) + 1, 16, 16, 3)
        assert episode["goal_frame"].shape == (16, 16, 3)
        assert one["success"] == bool(episode["succeeded"][1:].any())
        assert len(episode["actions"]) == (one["success_step"] or 9)  # it ends where it succeeds
    again = evaluate(
        None, task, tmp_path / "again", protocol=protocol, episodes=6, rows=["noop", "random"], instances="goals",
        workers=2, environment={"image_size": [16, 16]},
    )  # fmt: skip
    assert again["per_episode"] == result["per_episode"]
    from wmplan.listing import results_table
    from wmplan.report.page import write_report

    table = results_table(result)
    assert "row oracle: absent, the environment has no" in table and "own goals" in table
    assert "environment" in write_report(tmp_path / "out").read_text()
    with pytest.raises(UserError, match="the row replay cannot be had: nobody knows actions"):
        evaluate(None, task, tmp_path / "none", protocol=protocol, episodes=1, rows=["replay"], instances="goals")
    assert not (tmp_path / "none").exists()
