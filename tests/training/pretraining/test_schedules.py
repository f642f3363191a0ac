"""How settings move over the steps."""

import pytest

from wmplan.training.pretraining.schedules import between, learning_rate, warmed_up


def test_a_cosine_rises_and_falls() -> None:
    rate = learning_rate(2.0, 1000, 0.1, "cosine")
    assert [rate(step) for step in (0, 49, 99)] == pytest.approx([0.02, 1.0, 2.0])
    assert rate(550) == pytest.approx(2 * 0.505, abs=1e-3) and rate(999) == pytest.approx(0.02, abs=1e-3)


def test_a_constant_cools_down_at_the_end() -> None:
    rate = learning_rate(2.0, 1000, 0.1, "constant")
    assert [rate(step) for step in (99, 500, 900, 950, 999)] == pytest.approx([2.0, 2.0, 2.0, 1.0, 0.02])
    assert all(learning_rate(1.0, steps, 0.5, "constant")(step) > 0 for steps in (1, 2, 5) for step in range(steps))


def test_between_two_values_lies_half_a_cosine() -> None:
    assert [between(0.04, 0.4, 100)(step) for step in (0, 50, 100)] == pytest.approx([0.04, 0.22, 0.4])
    assert between(0.999, 0.999, 7)(3) == pytest.approx(0.999)


def test_a_moving_average_follows_faster_at_first() -> None:
    assert warmed_up(0.996, 0) == 0.1 and warmed_up(0.996, 10) == 11 / 20
    assert warmed_up(0.996, 10**6) == 0.996
