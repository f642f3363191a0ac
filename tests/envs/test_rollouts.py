"""Simulating many action sequences gives what stepping through each of them gives."""

import numpy as np
import pytest


def stepped(env, actions):
    start, states = env.get_state(), []
    for action in actions:
        env.step_physics(action)
        states.append(env.task_state())
    env.set_state(start)
    return np.array(states)


def in_the_midst(env):
    """Within an episode, moving; on Push-T the pusher is at the block, where the warm start makes a difference."""
    env.reset(seed=5)
    policy = env.exploration_policy(np.random.default_rng(5))
    for _ in range(62):
        before = env.task_state()
        env.step_physics(policy(before))
    assert not np.allclose(env.task_state()[2:], before[2:], atol=1e-4)


@pytest.mark.parametrize("varied", [False, True])
def test_simulating_is_stepping_bit_for_bit(env, varied):
    in_the_midst(env)
    if varied:
        env.variation.sample(np.random.default_rng(0))
    before = env.get_state()
    low, high = env.task.action_low * 1.5, env.task.action_high * 1.5  # beyond the bounds as well
    actions = np.random.default_rng(1).uniform(low, high, (7, 25, len(low)))
    expected = np.array([stepped(env, own) for own in actions])
    for threads in (1, 2, 3):
        assert np.array_equal(env.simulate(actions, threads=threads), expected)
        assert np.array_equal(env.get_state(), before)


def test_the_number_of_threads_is_as_asked(env):
    env.reset(seed=0)
    actions = np.zeros((4, 2, len(env.task.action_low)))
    for threads in (1, 3, 2):
        env.simulate(actions, threads=threads)
        assert len(env.rollouts._data) == threads
        assert env.rollouts._pool.nthread == (threads if threads > 1 else 0)
    with pytest.raises(ValueError, match="threads must be 1 or more, got 0"):
        env.simulate(actions, threads=0)


@pytest.mark.parametrize("shape", [(25, 2), (0, 25, 2), (3, 0, 2), (3, 25, 5), (2, 3, 25, 2)])
def test_actions_of_the_wrong_shape_are_refused(push, shape):
    push.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions must have shape \(S, T, 2\), got "):
        push.simulate(np.zeros(shape))
