"""Bar, blur and noise are what they say, at any size of the frame."""

import numpy as np
import pytest

from wmplan.envs.image_factors import blurred, noisy, occluded


@pytest.mark.parametrize("size", [(64, 64), (48, 96), (200, 120)])
def test_the_bar_hides_its_share_of_the_frame(size):
    frame = np.full((*size, 3), 200, np.uint8)
    level = occluded(frame, 0.25, 0.25, 0.0, 50)
    hidden = (200 - level[..., 0].astype(float)) / 150
    np.testing.assert_allclose(hidden.sum(), 0.25 * size[0] * size[1], rtol=0.01)
    rows = np.average(np.arange(size[0]), weights=hidden.sum(axis=1))
    assert rows == pytest.approx((size[0] - 1) / 2 + 0.25 * size[0], abs=0.1)
    upright = occluded(frame, 0.25, 0.0, np.pi / 2, 50)
    assert (upright[:, 0] == 200).all() and (upright[:, size[1] // 2] == 50).all()
    np.testing.assert_array_equal(occluded(frame, 0.0, 0.25, 0.3, 50), frame)


def test_blur_spreads_a_point_as_a_gaussian_and_keeps_the_mean():
    frame = np.zeros((64, 64, 3), np.uint8)
    frame[32, 32, 1] = 255
    for scale in (1, 2):
        wide = np.kron(frame, np.ones((scale, scale, 1), np.uint8)).astype(np.uint8)
        seen = blurred(wide, 1.2)[..., 1].astype(float)
        columns = np.arange(64 * scale)
        mean = (seen.sum(axis=0) * columns).sum() / seen.sum()
        deviation = np.sqrt((seen.sum(axis=0) * (columns - mean) ** 2).sum() / seen.sum())
        box = np.sqrt((scale**2 - 1) / 12)  # of the point itself
        assert deviation == pytest.approx(np.hypot(1.2 * scale, box), rel=0.05)
    flat = np.full((20, 30, 3), 77, np.uint8)
    np.testing.assert_array_equal(blurred(flat, 1.5), flat)
    np.testing.assert_array_equal(blurred(frame, 0.0), frame)
    assert blurred(frame, 1e9).shape == frame.shape


def test_noise_has_its_deviation_and_is_fresh_at_each_moment():
    frame = np.full((64, 64, 3), 128, np.uint8)
    one = noisy(frame, 20.0, b"now")
    difference = one.astype(float) - 128
    assert difference.std() == pytest.approx(20, rel=0.03) and abs(difference.mean()) < 1
    np.testing.assert_array_equal(noisy(frame, 20.0, b"now"), one)
    later = noisy(frame, 20.0, b"then").astype(float) - 128
    assert abs(np.corrcoef(difference.ravel(), later.ravel())[0, 1]) < 0.05
    np.testing.assert_array_equal(noisy(frame, 0.0, b"now"), frame)
