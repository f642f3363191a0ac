"""Intervals against published values and simulation."""

import numpy as np
import pytest
from scipy import stats

from wmplan.evaluation.intervals import effective_trials, percentiles, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [  # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_newcombes_published_intervals(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_wilson_agrees_with_scipy_at_another_level() -> None:
    expected = stats.binomtest(37, 50).proportion_ci(0.9, "wilson")
    assert wilson(37, 50, confidence=0.9) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (-1, 5), (6, 5), (0, -1)])
def test_wilson_refuses_impossible_counts(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="trials"):
        wilson(successes, trials)


def test_one_stream_counts_every_instance_once() -> None:
    outcomes = np.array([1, 0, 1, 1, 0])[:, None]
    assert effective_trials(outcomes) == pytest.approx(5)


def test_streams_that_always_agree_add_nothing() -> None:
    assert effective_trials(np.repeat(np.array([[1], [0], [1], [0]]), 3, axis=1)) == pytest.approx(4)
    assert effective_trials(np.ones((40, 3))) == 40  # nor do they where nothing can be said


def test_independent_streams_count_in_full() -> None:
    outcomes = np.random.default_rng(0).random((4000, 3)) < 0.7
    assert effective_trials(outcomes) == pytest.approx(12000, rel=0.06)


def test_intervals_at_the_effective_number_cover_the_truth_where_naive_ones_do_not() -> None:
    rng = np.random.default_rng(1)
    covered = naive = 0
    for _ in range(400):
        difficulty = rng.beta(0.6, 0.4, size=(100, 1))  # the mean success rate is 0.6
        outcomes = rng.random((100, 3)) < difficulty
        trials = effective_trials(outcomes)
        low, high = wilson(outcomes.mean() * trials, trials)
        covered += low <= 0.6 <= high
        low, high = wilson(outcomes.sum(), outcomes.size)
        naive += low <= 0.6 <= high
    assert 0.92 <= covered / 400 <= 0.985
    assert naive / 400 < 0.9


def test_percentiles_of_times() -> None:
    assert percentiles(np.arange(101)) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}
    assert percentiles([]) == {"p50": None, "p95": None, "p99": None}
