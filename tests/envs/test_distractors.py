"""Distractors stay in their area, move at their speed and depend on the time alone."""

import numpy as np

from wmplan.envs.distractors import COUNT, DISTRACTORS, Distractors

AREA = ((-0.2, 0.3), (0.0, 0.1))


def test_they_move_at_their_speed_and_turn_back_at_the_edges():
    things = np.random.default_rng(0).uniform(*DISTRACTORS)
    one = Distractors(things, AREA)
    times = np.arange(0, 40, 0.01)
    paths = np.array([one.positions(time) for time in times])  # (T, COUNT, 2)
    low, high = np.array(AREA).T
    assert paths.shape[1:] == (COUNT, 2) and (paths >= low).all() and (paths <= high).all()
    speeds = np.linalg.norm(np.diff(paths, axis=0), axis=-1) / 0.01
    np.testing.assert_allclose(np.median(speeds, axis=0), things[:, 1], rtol=1e-6)
    assert (speeds <= things[:, 1] + 1e-9).all()  # less only in the step in which it turns back
    np.testing.assert_allclose(paths[0], low + things[:, 2:4] * (high - low))
    np.testing.assert_array_equal(one.positions(7.3), Distractors(things, AREA).positions(7.3))
