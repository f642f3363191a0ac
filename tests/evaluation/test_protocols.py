"""Published protocols by name: what they ask for on each task, which instances they take, and when success is read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wmplan import cli
from wmplan.data.registered import make_environment
from wmplan.errors import UserError
from wmplan.evaluation import Protocol, evaluate, load_episode
from wmplan.evaluation.instance_sources import ExpertEpisodes, RandomStates, why_unserved
from wmplan.evaluation.instances import generate_instances
from wmplan.evaluation.success import judge_states
from wmplan.settings.compose import compose
from wmplan.settings.protocols import named_protocols

PUSHT = "wmplan.envs:wmplan/PushT-v0"
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def task() -> Iterator[str]:
    sys.path.insert(0, str(HERE))
    from expert_point import TASK

    yield TASK
    sys.path.remove(str(HERE))


@pytest.fixture(scope="module")
def env(task: str) -> Any:
    return make_environment(task, {})


def test_every_protocol_says_where_it_is_from_and_can_be_chosen() -> None:
    for one in named_protocols():
        assert one.about and len(one.source) > 10
        for name in ("pusht", "metaworld_reach", "pointmaze_umaze", None):
            assert Protocol.named(one.name, name).name == one.name
        settings = compose("eval", [f"protocol={one.name}", "out=x"])["protocol"]
        assert settings["name"] == one.name
    assert Protocol.named("default") == Protocol()


def test_what_the_publications_say() -> None:
    lewm, jepa = Protocol.named("lewm", "pusht"), Protocol.named("jepa_wms", "pusht")
    assert (lewm.offset, lewm.budget, lewm.success, lewm.keep_solved) == (25, 50, "any_time", True)
    assert (jepa.offset, jepa.budget, jepa.success, jepa.open_loop) == (30, 30, "end", True)
    metaworld = Protocol.named("jepa_wms", "metaworld_reach_wall")
    assert (metaworld.instances, metaworld.budget, metaworld.success) == ("expert", 100, "end")
    assert (metaworld.rule, metaworld.open_loop) == ("environment", False)
    assert Protocol.named("dino_wm", "pointmaze_umaze").instances == "random_states"
    assert [(one.offset, one.steps) for _, one in Protocol.named("long").each()] == [(50, 100), (75, 150), (150, 300)]


def test_settings_lie_over_a_protocol_and_a_task_over_its_general_settings() -> None:
    found = compose("eval", ["protocol=jepa_wms", "protocol.budget=60", "task=Reacher-v5", "out=x"])["protocol"]
    assert (found["budget"], found["offset"], found["success"]) == (60, 30, "end")
    assert compose("eval", ["protocol={offset: 7}", "out=x"])["protocol"]["offset"] == 7


def test_solved_instances_are_kept_and_told_apart(task: str, tmp_path: Path) -> None:
    protocol = Protocol(instances="goals", budget=None, keep_solved=True)
    result = evaluate(None, task, tmp_path, protocol=protocol, episodes=24, rows=["noop"], workers=1)
    row = result["rows"]["noop"]
    env = make_environment(task, {})
    solved = 0
    for one in result["per_episode"]:
        episode = load_episode(tmp_path / one["file"])
        solved += bool(env.task.rules(episode["states"][0], episode["goal"])["near"])
    assert 0 < solved < 24 and result["protocol"]["budget"] == 40  # the time limit it is registered with
    assert row["success"] == pytest.approx(solved / 24)  # as published
    assert (row["without_solved"]["success"], row["without_solved"]["episodes"]) == (0, 24 - solved)
    from wmplan.listing import results_table
    from wmplan.report.page import write_report

    assert f"without {solved} instance" in results_table(result) and "noop 0 [0, " in results_table(result)
    assert f"Without {solved} instance" in write_report(tmp_path).read_text()


def test_an_experts_last_state_is_the_goal_and_experts_that_fail_are_left_out(env: Any) -> None:
    protocol = Protocol(instances="expert", offset=60, rule="environment")
    instances = ExpertEpisodes().instances(env, protocol, 12, 0)
    assert len({one.episode for one in instances}) == 12
    for one in instances:
        one.start(env)
        assert not env.succeeded
        for action in one.actions:
            env.step_physics(action)
        assert env.succeeded
        np.testing.assert_array_equal(env.get_state(), one.goal_state)
    kept = ExpertEpisodes().instances(env, Protocol(instances="expert", offset=60, keep_solved=True), 24, 0)
    assert 0 < sum(one.solved for one in kept) < 24


def test_random_states_are_those_of_two_resets(env: Any) -> None:
    instances = RandomStates().instances(env, Protocol(instances="random_states"), 8, 0)
    first = RandomStates().instances(env, Protocol(instances="random_states"), 4, 0)
    assert [one.as_dict() for one in instances[:4]] == [one.as_dict() for one in first]
    for one in instances:
        one.start(env)
        np.testing.assert_array_equal(env.goal, one.goal_state[:2])
        assert not env.task.rules(env.task_state(), env.goal)["near"]
        assert not len(one.actions)


def test_instances_of_published_protocols_do_not_depend_on_the_model(tmp_path: Path) -> None:
    held = evaluate(None, PUSHT, tmp_path / "held", protocol=Protocol(policy="held"), episodes=2, rows=["noop"])
    own = evaluate(None, PUSHT, tmp_path / "own", protocol=Protocol.named("lewm"), episodes=2, rows=["noop"])
    plain = evaluate(None, PUSHT, tmp_path / "plain", protocol=Protocol(), episodes=2, rows=["noop"])
    assert len({one["instances_sha256"] for one in (held, own, plain)}) == 3
    assert own["protocol"]["name"] == "lewm" and "name" not in plain["protocol"]


def test_success_is_read_when_the_protocol_reads_it() -> None:
    env = make_environment(PUSHT, {"image_size": 16})
    env.reset(seed=0)
    goal = env.goal
    states = np.stack([goal + [0.5, 0, 0.5, 0, 0]] * 13)
    states[5] = goal  # reached in passing
    assert judge_states(env, states, goal)["public"]["success_step"] == 5
    assert judge_states(env, states, goal, every=5)["public"]["success_step"] == 5
    passed = judge_states(env, states, goal, every=4)["public"]
    assert (passed["success"], passed["success_step"]) == (False, None)
    states[12] = goal
    assert judge_states(env, states, goal, every=7)["public"]["success_step"] == 12  # the end is always read
    env.close()


def test_open_loop_plans_once_for_the_whole_budget(tmp_path: Path) -> None:
    planner = {"name": "cem", "num_samples": 8, "num_iterations": 1, "num_elites": 3}
    common: dict[str, Any] = {"protocol": Protocol.named("jepa_wms", "pusht"), "episodes": 1, "planner": planner}
    result = evaluate("pusht", PUSHT, tmp_path / "out", rows=["planner"], workers=1, **common)
    episode = load_episode(tmp_path / "out" / result["per_episode"][0]["file"])
    assert episode["plan_step"].tolist() == [0] and episode["plans"].shape[1:] == (6, 10)
    np.testing.assert_allclose(episode["actions"], episode["plans"][0].reshape(30, 2), atol=1e-6)
    assert result["planner"]["horizon"] == 6 and result["planner"]["replan_every"] == 30
    with pytest.raises(UserError, match="replan_every must be left out or 30, got 5"):
        evaluate("pusht", PUSHT, tmp_path / "no", rows=["planner"], schedule={"replan_every": 5}, **common)


def test_several_offsets_give_a_folder_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["model=null", "rows=[replay]", "episodes=1", "workers=1", "protocol.episode_steps=60"]
    assert cli.main(["eval", f"out={tmp_path}", "protocol=long", "protocol.offset=[5,9]", *few]) == 0
    out = capsys.readouterr().out
    assert "goal 5 robot steps ahead, 10 steps to get there" in out and "goal 9 robot steps ahead, 18 steps" in out
    for offset in (5, 9):
        assert (tmp_path / f"offset_{offset}" / "results.json").exists()
        assert (tmp_path / f"offset_{offset}" / "report.html").exists()


def test_what_a_task_cannot_serve_is_one_line(env: Any, task: str, tmp_path: Path) -> None:
    assert why_unserved(env, Protocol.named("jepa_wms", "metaworld_reach")) is None
    native = make_environment(PUSHT, {})
    assert why_unserved(native, Protocol.named("jepa_wms", "metaworld_reach")) == "no expert"
    with pytest.raises(UserError, match=r"instances=expert.* cannot be had: .*no expert_policy \(ability expert"):
        evaluate(None, PUSHT, tmp_path, protocol=Protocol(instances="expert"), episodes=1, rows=["noop"])
    with pytest.raises(UserError, match="there is no protocol 'lewn'; did you mean 'lewm'"):
        Protocol.named("lewn")
    with pytest.raises(UserError, match=r"offset must be one number here, got \[5, 9\]"):
        evaluate(None, PUSHT, tmp_path, protocol=Protocol(offset=(5, 9)), episodes=1, rows=["noop"])
    with pytest.raises(UserError, match="success is 'often'; it is one of any_time, end"):
        Protocol(success="often")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="read_every must be at least 1 robot step, got 0"):
        Protocol(read_every=0)
    unlimited = Protocol(instances="goals", budget=None)
    with pytest.raises(UserError, match="has no time limit: say protocol.budget=STEPS"):
        unlimited.on(object())  # type: ignore[arg-type]
    native.close()


def test_an_old_results_protocol_is_still_read() -> None:
    old = {"proprio": True, "goal": "image", "offset": 25, "budget": 50, "rule": "public", "variation": False}
    assert Protocol(**{**old, "episode_steps": 100}).settings() == {**old, "episode_steps": 100}


def test_default_instances_do_not_keep_what_is_solved() -> None:
    env = make_environment(PUSHT, {"image_size": 16})
    found = generate_instances(env, Protocol(offset=12, budget=5, episode_steps=40), 2, 0)
    assert "solved" not in found[0].as_dict()
    env.close()
