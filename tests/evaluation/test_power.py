"""Power of McNemar's exact test against enumeration, simulation and Connor's published formula."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from wmplan.errors import UserError
from wmplan.evaluation.power import detectable_difference, mcnemar_power, pairs_needed


def test_power_is_the_chance_of_all_tables_that_the_test_rejects() -> None:
    pairs, losing, winning = 12, 0.1, 0.5
    expected = 0.0
    for only_first, only_second in product(range(pairs + 1), repeat=2):
        rest = pairs - only_first - only_second
        if rest >= 0 and only_first + only_second:
            rejects = stats.binomtest(only_first, only_first + only_second).pvalue <= 0.05
            chances = [losing, winning, 1 - losing - winning]
            expected += rejects * stats.multinomial.pmf([only_first, only_second, rest], pairs, chances)
    assert mcnemar_power(pairs, winning - losing, winning + losing) == pytest.approx(expected)


def test_power_of_many_pairs_is_that_of_simulated_experiments() -> None:
    counts = np.random.default_rng(0).multinomial(300, [0.04, 0.09, 0.87], size=4000)
    found = [stats.binomtest(one, one + two).pvalue <= 0.05 for one, two, _ in counts]
    assert mcnemar_power(300, 0.05, 0.13) == pytest.approx(np.mean(found), abs=0.025)


@pytest.mark.parametrize(("losing", "winning", "power"), [(0.05, 0.45, 0.8), (0.05, 0.15, 0.8), (0.02, 0.05, 0.9)])
def test_an_exact_test_needs_somewhat_more_pairs_than_connors_formula(
    losing: float, winning: float, power: float
) -> None:
    difference, discordant = winning - losing, winning + losing
    at_level, at_power = stats.norm.ppf(0.975), stats.norm.ppf(power)
    formula = ((at_level * discordant**0.5 + at_power * (discordant - difference**2) ** 0.5) / difference) ** 2
    connor = int(np.ceil(formula))
    if losing == 0.05 and winning == 0.45:
        assert connor == 23  # the worked value that calculators of this formula (Biometrics 43, 1987) give
    needed = pairs_needed(difference, discordant, power)
    assert connor <= needed <= 1.1 * connor + 6
    assert mcnemar_power(needed, difference, discordant) >= power > mcnemar_power(needed - 1, difference, discordant)


def test_what_a_number_of_pairs_shows_is_what_needs_that_number() -> None:
    least = detectable_difference(200, 0.1)
    assert least is not None and mcnemar_power(200, least, 0.1) == pytest.approx(0.8, abs=0.005)
    assert abs(pairs_needed(least, 0.1) - 200) <= 8
    assert detectable_difference(5, 0.3) is None and detectable_difference(100, 0.0) is None


def test_what_no_number_shows_is_refused() -> None:
    with pytest.raises(UserError, match="difference of 0"):
        pairs_needed(0.0, 0.1)
    with pytest.raises(UserError, match="as many pairs that differ"):
        pairs_needed(0.2, 0.1)
    with pytest.raises(UserError, match="power must be above 0.05 and below 1, got 1"):
        pairs_needed(0.1, 0.2, power=1.0)
