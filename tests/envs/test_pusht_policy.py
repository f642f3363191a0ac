"""Exploration of Push-T: reproducible, within bounds, and about the block."""

import numpy as np
import pytest

from wmplan.envs.pusht import PushExploration, unit

PUSHER_RADIUS = 0.015


def episodes(env, seeds, steps=100):
    """States (E, T, 5), actions (E, T, 2) and whether the pusher touched the block (E, T)."""
    model = env.physics.model
    pusher, parts = model.geom("pusher").id, {model.geom("block_bar").id, model.geom("block_stem").id}
    states, actions, touched = [], [], []
    for seed in seeds:
        env.task.place_random(env.physics, np.random.default_rng(seed))
        policy = env.exploration_policy(np.random.default_rng(seed))
        for _ in range(steps):
            states.append(env.task_state())
            actions.append(policy(states[-1]))
            env.step_physics(actions[-1])
            pairs = [set(map(int, contact.geom)) for contact in env.physics.data.contact]
            touched.append(any(pusher in pair and pair & parts for pair in pairs))
    count = len(states) // steps
    return (
        np.array(states).reshape(count, steps, 5),
        np.array(actions).reshape(count, steps, 2),
        np.array(touched).reshape(count, steps),
    )


@pytest.fixture
def explored(push):
    return episodes(push, range(20))


def test_the_same_seed_gives_the_same_actions(push):
    first, again, other = (episodes(push, [seed], 40)[1] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_exploration_pushes_misses_and_covers_the_table(push, explored):
    states, actions, touched = explored
    assert (actions >= push.task.action_low).all() and (actions <= push.task.action_high).all()
    assert 0.15 < touched.mean() < 0.75
    moved = np.linalg.norm(states[:, -1, 2:4] - states[:, 0, 2:4], axis=-1)
    assert (moved > 0.02).mean() > 0.7  # most episodes move the block
    assert np.abs(np.diff(np.unwrap(states[..., 4], axis=1), axis=1)).sum(axis=1).mean() > 0.5  # and turn it
    assert (np.ptp(states[..., :2].reshape(-1, 2), axis=0) > 0.4).all()
    assert (np.abs(states[..., 2:4]) < 0.256).all()
    fast = np.linalg.norm(actions, axis=-1)
    assert (fast == 0).any() and (fast > 0.18).any()  # it rests, and it goes at full speed


def test_the_way_round_the_block_keeps_clear_of_it():
    """Followed without noise from behind the block, the way to the far side never comes near its middle."""
    policy = PushExploration(np.random.default_rng(0), speed=0.2)
    block, start = np.array([0.01, 0.0]), np.array([0.1, 0.02])
    pusher, nearest = np.array([-0.1, 0.0]), np.inf
    for _ in range(200):
        pusher = pusher + 0.01 * unit(policy.around(pusher, block, start) - pusher)
        nearest = min(nearest, float(np.linalg.norm(pusher - block)))
        if np.linalg.norm(pusher - start) < 0.011:
            break
    else:
        pytest.fail("never arrived")
    assert nearest > 0.06


def test_the_last_step_does_not_overshoot():
    policy = PushExploration(np.random.default_rng(0), speed=0.2)
    offset = np.array([0.003, 0.004])
    assert 0.1 * policy.towards(offset) == pytest.approx(offset)
    assert np.linalg.norm(policy.towards(10 * offset)) == pytest.approx(policy.speed)
