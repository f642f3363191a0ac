"""Paired comparisons against published worked examples, SciPy and simulation."""

import numpy as np
import pytest
from scipy import stats

from wmplan.evaluation.paired import mcnemar, paired_interval, sign_flip_test


def outcomes(both: int, only_first: int, only_second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    counts = [both, only_first, only_second, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


@pytest.mark.parametrize(
    ("table", "low", "high", "p_value"),
    [  # Fagerland, Lydersen and Laake, Statistical Analysis of Contingency Tables (2017), chapter 8; first less second
        ((59, 6, 16, 80), -0.1240, -0.0054, 0.052479),  # response to therapy, Cavo et al. 2012
        ((1, 1, 7, 12), -0.517, -0.026, 0.0703),  # airway responsiveness, Bentur et al. 2009
    ],
)
def test_published_worked_examples(table: tuple[int, int, int, int], low: float, high: float, p_value: float) -> None:
    found = mcnemar(*outcomes(*table))
    assert found.ci95 == pytest.approx((-high, -low), abs=5e-4)
    assert found.p_value == pytest.approx(p_value, abs=5e-5)
    assert found.difference == pytest.approx((table[2] - table[1]) / sum(table))
    assert (found.only_first, found.only_second, found.instances) == (*table[1:3], sum(table))


def test_one_planner_seed_gives_scipys_exact_binomial_test() -> None:
    for only_first in range(12):
        for only_second in range(12):
            expected = stats.binomtest(only_first, only_first + only_second).pvalue if only_first + only_second else 1.0
            assert mcnemar(*outcomes(3, only_first, only_second, 5)).p_value == pytest.approx(expected)


def test_the_interval_has_the_symmetries_of_the_problem_and_its_ends() -> None:
    low, high = paired_interval(3, 9, 40)
    assert paired_interval(9, 3, 40) == pytest.approx((-high, -low))
    half = stats.norm.ppf(0.975) ** 2
    assert paired_interval(0, 0, 50) == pytest.approx((-half / (50 + half), half / (50 + half)))  # Tango 1998
    assert paired_interval(0, 50, 50)[1] == 1.0 and paired_interval(50, 0, 50)[0] == -1.0
    assert paired_interval(3, 9, 40, confidence=0.99)[0] < low


def test_the_interval_covers_the_truth_where_few_pairs_differ() -> None:
    rng = np.random.default_rng(0)
    counts = rng.multinomial(60, [0.02, 0.07, 0.91], size=1500)  # only the first, only the second, no difference
    covered = [low <= 0.05 <= high for low, high in (paired_interval(one, two, 60) for one, two, _ in counts)]
    assert 0.93 <= np.mean(covered) <= 0.97


def test_the_test_of_several_seeds_is_the_share_of_all_flips_of_whole_instances() -> None:
    differences = np.array([2, -1, 0, 3, 1])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 5)).reshape(5, -1)
    expected = np.mean(np.abs(differences @ signs) >= differences.sum())
    assert sign_flip_test(differences) == pytest.approx(expected)


def test_seeds_of_one_instance_do_not_count_as_instances() -> None:
    first, second = outcomes(20, 2, 9, 9)
    once, copied = mcnemar(first, second), mcnemar(np.stack([first] * 3, 1), np.stack([second] * 3, 1))
    assert copied.p_value == pytest.approx(once.p_value)
    assert copied.ci95 == pytest.approx(once.ci95)
    assert copied.effective_n == pytest.approx(40) and copied.only_second == 27


def test_with_several_seeds_the_level_is_kept_and_the_interval_covers() -> None:
    rng = np.random.default_rng(1)
    rejected, covered, naive = [], [], []
    for _ in range(400):
        ease = rng.beta(0.6, 0.4, size=(80, 1))
        own = rng.normal(0, 0.3, size=(80, 2))  # each method is better on some instances: seeds agree
        first, second = (rng.random((80, 3)) < np.clip(ease + own[:, [i]], 0, 1) for i in (0, 1))
        found = mcnemar(first, second)
        rejected.append(found.p_value <= 0.05)
        covered.append(found.ci95[0] <= 0 <= found.ci95[1])
        naive.append(mcnemar(first.ravel(), second.ravel()).p_value <= 0.05)
    assert np.mean(rejected) <= 0.075 and np.mean(covered) >= 0.925
    assert np.mean(naive) > 0.09  # what counting episodes would have done


def test_unequal_trials_are_refused() -> None:
    with pytest.raises(ValueError, match="same trials"):
        mcnemar([True], [True, False])
    with pytest.raises(ValueError, match="cannot differ"):
        paired_interval(3, 3, 5)
