"""Whole runs of the robot in simulated time with a planner that knows the world, and a short one in wall-clock time."""

import json
from dataclasses import replace

import numpy as np
import pytest
from point_robot import REACH, TASK, PointRobot
from straight_planner import StraightPlanner

from wmplan.control.realtime.config import RealtimeConfig
from wmplan.data.store import EpisodeStore
from wmplan.errors import UserError
from wmplan.evaluation.instances import generate_instances
from wmplan.evaluation.protocol import Protocol
from wmplan.robot_sim.camera import CameraConfig
from wmplan.robot_sim.config import FaultsConfig, LimitsConfig, RobotConfig
from wmplan.robot_sim.faults import KINDS, Fault, random_faults
from wmplan.robot_sim.planner_link import local, simulated
from wmplan.robot_sim.run import limits_of, play, results_text, run_episodes, run_robot

CONFIG = RobotConfig(task=TASK, out="unused", url=None, clock="simulated", episodes=5, films=0, ramp_ms=0)


def link_of(config, env, planner=None, make=simulated):
    return make(config, planner or StraightPlanner(), "straight", limits_of(config, env), env.control_rate)


def run(tmp_path, **changes):
    config = replace(CONFIG, out=tmp_path, **changes)
    env = PointRobot()
    return run_episodes(config, env, link_of(config, env))


def episode(faults=(), planner=None, seconds=5.0, instance=0, **changes):
    """One episode and what drove it."""
    config = replace(CONFIG, seconds=seconds, **changes)
    env = PointRobot()
    link = link_of(config, env, planner)
    (chosen,) = generate_instances(env, config.protocol, instance + 1, config.seed)[instance:]
    played, _ = play(config, env, link, chosen, list(faults))
    return played, link, env


def timeless(result):
    result = dict(result)
    for name in ("machine", "versions", "settings"):
        result.pop(name)
    return json.dumps(result, sort_keys=True)


def test_a_planner_that_knows_the_world_reaches_every_goal_and_no_deadline_is_missed(tmp_path):
    result = run(tmp_path)
    assert result["success"] == result["success_at_end"] == 1.0 and result["success_ci95"][1] == 1.0
    assert result["loop"]["control_rate"] == pytest.approx(10.0)
    assert result["loop"]["states"] == {"FOLLOW": 1.0} and result["out_of_limits"] == 0
    assert result["statistics"]["missed_deadlines"] == 0
    assert result["statistics"]["plan_seconds"]["p99"] == pytest.approx(0.05)
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(result))
    assert "success by near" in results_text(result)


def test_a_run_can_be_repeated_exactly(tmp_path):
    changes = {"faults": FaultsConfig(random=3), "camera": CameraConfig(jitter_ms=60, latency_ms=40)}
    first, again = (run(tmp_path / str(index), **changes) for index in range(2))
    assert timeless(first) == timeless(again)
    assert timeless(first) != timeless(run(tmp_path / "other", seed=1, **changes))


@pytest.mark.parametrize("rate", [10.0, 20.0, 25.0, 30.0])
def test_it_runs_at_other_rates_than_the_tasks(tmp_path, rate):
    result = run(tmp_path, rate=rate, seconds=3.0, episodes=2)
    assert result["success"] == 1.0
    assert [record["ticks"] for record in result["per_episode"]] == [3 * rate] * 2
    assert result["loop"]["control_rate"] == pytest.approx(rate, rel=0.02)


def overshoot(compensation):
    """How far the point goes past its goal when frames are 200 ms old and plans take 100 ms."""
    played, _, env = episode(
        camera=CameraConfig(rate=100, latency_ms=200),
        plan_ms=100,
        realtime=RealtimeConfig(wait_first=True, compensation=compensation),
    )
    way = played.goal - played.states[0]
    along = (np.array(played.states) - played.states[0]) @ way / (way @ way)
    return float(along.max() - 1) * float(np.linalg.norm(way))


def test_compensation_keeps_a_late_camera_from_leading_past_the_goal():
    assert overshoot(compensation=True) < 0.02
    assert overshoot(compensation=False) > 0.1


def test_time_begins_with_the_first_plan():
    played, _, _ = episode(plan_ms=400)
    assert played.modes[0] == "FOLLOW" and played.ticks[0] == 0.0
    assert np.abs(played.actions[0]).max() > 0


def test_a_dead_server_ends_in_hold_and_then_in_a_stop_that_lasts():
    planner = StraightPlanner(steps=5)
    played, link, env = episode([Fault("server_killed", 0.5, 3.5)], planner, realtime=RealtimeConfig(wait_first=True))
    changes = {mode: at for at, mode in reversed(played.changes())}
    assert 0.5 < changes["HOLD"] <= 1.1  # the last plan had five robot steps
    assert changes["SAFE_STOP"] == pytest.approx(changes["HOLD"] + 2.0, abs=0.11)
    assert played.modes[-1] == "SAFE_STOP" and np.all(played.actions[-1] == 0)
    assert link.controller.statistics.as_dict()["errors"]["LinkDown"] > 0


def test_a_server_that_comes_back_is_given_seed_and_goal_again_and_control_goes_on():
    planner = StraightPlanner(steps=5)
    played, _, _ = episode([Fault("server_killed", 0.3, 1.2)], planner)
    assert "HOLD" in played.modes and played.modes[-1] == "FOLLOW"
    assert planner.resets == 2
    assert np.linalg.norm(played.states[-1] - played.goal) < 0.05


def test_a_frozen_camera_is_noticed_while_the_robot_moves():
    played, link, _ = episode(
        [Fault("camera_frozen", 0.3, None)],
        StraightPlanner(noise=1.0),
        realtime=RealtimeConfig(wait_first=True, max_repeats=5),
    )
    assert link.controller.statistics.as_dict()["rejected"]["repeated"] > 0
    assert played.modes[-1] != "FOLLOW"


def test_lost_frames_are_stale_and_not_planned_from():
    _, link, _ = episode([Fault("frames_dropped", 0.5, 2.0)])
    rejected = link.controller.statistics.as_dict()["rejected"]
    assert set(rejected) == {"stale"} and 10 <= rejected["stale"] <= 16  # from 0.5 s after the last frame on


def test_a_knock_is_made_up_for():
    played, _, _ = episode([Fault("knock", 2.0, None, 3.0)])
    distance = np.linalg.norm(np.array(played.states) - played.goal, axis=1)
    assert distance[19] < 0.02 < 0.1 < distance[22:26].max() and distance[-1] < 0.05


@pytest.mark.slow
def test_no_schedule_of_faults_leads_to_an_action_out_of_limits_or_a_state_that_is_none():
    """500 seeds, each with its own faults; what goes on after the last fault is as documented."""
    limits = LimitsConfig(max_change=(0.5, 0.5))
    config = replace(CONFIG, seconds=3.0, limits=limits, rate=20, faults=FaultsConfig(random=4))
    env = PointRobot()
    instances = generate_instances(env, config.protocol, 10, 0)
    kinds = set()
    for seed in range(500):
        one = replace(config, seed=seed, faults=replace(config.faults, seed=seed))
        planner = StraightPlanner(noise=2.0)
        link = link_of(one, env, planner)
        rng = np.random.default_rng(seed)
        faults = random_faults(rng, 4, 3.0, 2)
        kinds |= {fault.kind for fault in faults}
        played, _ = play(one, env, link, instances[seed % 10], faults)
        actions = np.array([np.zeros(2), *played.actions])
        where = f"seed {seed}: {faults}"
        assert played.out_of_limits == 0, where
        assert np.isfinite(actions).all() and np.abs(actions).max() <= REACH, where
        assert np.abs(np.diff(actions, axis=0)).max() <= 0.5 + 1e-5, where
        assert set(played.modes) <= {"FOLLOW", "HOLD", "SAFE_STOP"}, where
        assert len(played.ticks) == 60 and np.allclose(np.diff(played.ticks), 0.05), where
        if "SAFE_STOP" in played.modes:
            since = played.modes.index("SAFE_STOP")
            assert set(played.modes[since:]) == {"SAFE_STOP"}, where
            assert np.all(actions[since + 4 :] == 0), where  # led to rest within max_change
    assert kinds == set(KINDS)


def test_in_wall_clock_time_it_takes_as_long_as_it_says_and_a_film_is_written(tmp_path):
    config = replace(
        CONFIG,
        out=tmp_path,
        clock="wall",
        episodes=1,
        seconds=1.5,
        films=1,
        faults=FaultsConfig((Fault("knock", 1.0),)),
    )
    env = PointRobot()
    link = link_of(config, env, make=local)
    result = run_episodes(config, env, link)
    link.close()
    (record,) = result["per_episode"]
    assert record["ticks"] == 15 and result["out_of_limits"] == 0
    assert (tmp_path / record["film"]).read_bytes()[4:8] == b"ftyp"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"episodes": 0}, "episodes must be at least 1, got 0"),
        ({"rate": 0.0}, "rate must be above 0 and finite, got 0.0"),
        ({"seconds": -1.0}, "seconds must be above 0 and finite, got -1.0"),
        ({"url": "ws://127.0.0.1:1"}, "clock is simulated, so the planner must be in this process: url=null model=..."),
        ({"faults": (-1,)}, "faults.random must be at least 0, got -1"),
    ],
)
def test_what_is_wrong_is_named(changes, says):
    with pytest.raises(UserError, match=says):
        if "faults" in changes:
            FaultsConfig(random=changes["faults"][0])
        replace(CONFIG, **changes)


def test_a_rule_that_is_none_is_named(tmp_path):
    with pytest.raises(UserError, match="no rule 'far'"):
        run(tmp_path, protocol=Protocol(rule="far"))


def test_the_shipped_arm_gets_near_its_goals_while_it_plans(tmp_path):
    config = RobotConfig(
        task="wmplan.envs:wmplan/ArmReach-v0",
        out=tmp_path,
        url=None,
        model="arm_reach",
        clock="simulated",
        episodes=2,
        films=0,
    )
    result = run_robot(config)
    assert result["out_of_limits"] == 0 and result["loop"]["states"] == {"FOLLOW": 1.0}
    for record in result["per_episode"]:
        assert record["final_distance"] < 0.5 * record["start_distance"]


def test_a_run_is_recorded_as_data_an_episode_each(tmp_path):
    config = replace(CONFIG, out=tmp_path / "out", record=tmp_path / "data", episodes=2)
    env = PointRobot()
    link = link_of(config, env)
    run_episodes(config, env, link)
    link.close()
    store = EpisodeStore.open(tmp_path / "data", task=TASK)
    assert len(store) == 2 and store.meta.control_rate == env.control_rate and store.lengths.min() > 10
    store.check_finite()
