"""Commands become motion as the task means them."""

from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

from wmplan.robot_sim.body import Body
from wmplan.robot_sim.faults import Fault, FaultSchedule


def body(env, ramp=0.0, faults=(), period=0.1):
    return Body(env, period, ramp, FaultSchedule(faults), np.random.default_rng(0))


def drive(one, actions, steps=10):
    for index, action in enumerate(actions):
        one.command(np.array(action, np.float32))
        for step in range(steps):
            one.step((index * steps + step) / 100)


def test_a_value_is_held(point):
    drive(body(point), [(0.5, -0.25), (1.0, 0.0)])
    assert np.allclose(point.given, [[0.5, -0.25]] * 10 + [[1.0, 0.0]] * 10)


def test_a_value_is_reached_along_a_straight_ramp(point):
    drive(body(point, ramp=0.04), [(0.4, 0.0), (-0.4, 0.0)])
    given = np.array(point.given)[:, 0]
    assert np.allclose(given[:6], [0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
    assert np.allclose(given[10:16], [0.2, 0.0, -0.2, -0.4, -0.4, -0.4])


def test_a_ramp_goes_on_from_where_a_ramp_was_left(point):
    drive(body(point, ramp=0.1), [(1.0, 0.0), (0.0, 0.0)], steps=5)
    assert np.allclose(np.array(point.given)[:, 0], [0.1, 0.2, 0.3, 0.4, 0.5, 0.45, 0.4, 0.35, 0.3, 0.25])


@pytest.mark.parametrize("ramp", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("steps", [10, 5])
def test_a_change_of_the_command_is_given_once_in_all(ramp, steps):
    given = []
    task = SimpleNamespace(substeps=10, incremental=True, action_low=-np.ones(2), action_high=np.ones(2))
    env = SimpleNamespace(task=task, control_rate=10.0, step_substeps=lambda action, _: given.append(action))
    drive(body(env, ramp, period=steps / 100), [(0.6, -0.2), (0.1, 0.0)], steps)
    share = steps / 10  # of a robot step that each command is for
    assert np.allclose(np.sum(given[:steps], axis=0), [0.6 * share, -0.2 * share])
    assert np.allclose(np.sum(given, axis=0), [0.7 * share, -0.2 * share])


@pytest.mark.parametrize("task", ["PushT", "ArmReach"])
def test_at_the_tasks_own_rate_it_moves_as_the_environment_does(task):
    env = gymnasium.make(f"wmplan.envs:wmplan/{task}-v0").unwrapped
    env.reset(seed=2)
    start = env.get_state()
    rng = np.random.default_rng(0)
    actions = rng.uniform(env.task.action_low, env.task.action_high, (6, len(env.task.action_low))).astype(np.float32)
    for action in actions:
        env.step_physics(action)
    wanted = env.get_state()
    env.set_state(start)
    drive(body(env), actions)
    assert np.array_equal(env.get_state(), wanted)
    env.close()


def test_noise_has_the_size_it_says_and_stays_within_bounds(point):
    drive(body(point, faults=[Fault("action_noise", 0.0, None, 0.2)]), [(0.0, 0.9)] * 200)
    given = np.array(point.given)
    assert given[:, 0].std() == pytest.approx(0.2, rel=0.1) and abs(given[:, 0].mean()) < 0.02
    assert given[:, 1].max() == 1.0


def test_a_failed_actuator_does_nothing_and_the_other_goes_on(point):
    faults = [Fault("actuator_failed", 0.1, 0.1, 1), Fault("actuator_failed", 0.0, None, 7)]
    drive(body(point, faults=faults), [(0.5, 0.5)] * 3)
    given = np.array(point.given)
    assert np.allclose(given[:, 0], 0.5)
    assert np.allclose(given[:, 1], [0.5] * 10 + [0.0] * 10 + [0.5] * 10)


def test_a_knock_happens_once(point):
    drive(body(point, faults=[Fault("knock", 0.05, None, 0.5)]), [(0.0, 0.0)] * 3)
    travelled = np.linalg.norm(point.point)
    assert travelled == pytest.approx(0.5 * 0.01 / 0.1, rel=0.1)  # the drift dies out by a tenth a step
