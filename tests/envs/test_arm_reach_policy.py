"""Exploration of arm reach: reproducible, within bounds, smooth, and everywhere that goals are."""

import numpy as np


def episodes(env, seeds, steps=100):
    """States (E, T, 9) and actions (E, T, 6)."""
    states, actions = [], []
    for seed in seeds:
        env.task.place_random(env.physics, np.random.default_rng(seed))
        policy = env.exploration_policy(np.random.default_rng(seed))
        for _ in range(steps):
            states.append(env.task_state())
            actions.append(policy(states[-1]))
            env.step_physics(actions[-1])
    return np.array(states).reshape(-1, steps, 9), np.array(actions).reshape(-1, steps, 6)


def test_the_same_seed_gives_the_same_actions(reach):
    first, again, other = (episodes(reach, [seed], 40)[1] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_exploration_covers_the_poses_smoothly(reach):
    states, actions = episodes(reach, range(20))
    low, high = reach.task.joint_low, reach.task.joint_high
    assert (actions >= reach.task.action_low).all() and (actions <= reach.task.action_high).all()
    joints = states[..., :6].reshape(-1, 6)
    assert (joints >= low - 0.05).all() and (joints <= high + 0.05).all()
    tenths = np.floor((joints - low) / (high - low) * 10).clip(0, 9).astype(int)
    visits = np.array([np.bincount(column, minlength=10) for column in tenths.T]) / len(tenths)
    assert (visits > 0.01).all()  # every tenth of every joint's range
    still = np.abs(actions).max(axis=-1) == 0
    assert 0.01 < still.mean() < 0.3  # rests
    goes_on = (actions[:, 1:] * actions[:, :-1]).mean() / (actions**2).mean()
    assert goes_on > 0.7  # a random walk's actions have 0 here
    ahead = reach.task.rules(states[:, 25:], states[:, :-25])["pose"]
    assert ahead.mean() < 0.05  # 25 steps ahead is a goal that takes moving
