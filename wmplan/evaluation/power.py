"""How many instances it takes to show a difference of two success rates, by McNemar's exact test."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from wmplan.errors import UserError

LEVEL = 0.05
FEWEST = 2  # pairs


def mcnemar_power(pairs: int, difference: float, discordant: float, level: float = LEVEL) -> float:
    """Chance that McNemar's exact two-sided test finds a difference: over all numbers of pairs that may differ.

    Args:
        pairs: how many there are.
        difference: of the two success rates.
        discordant: share of the pairs in which one alone succeeds, at least the difference.
    """
    chance = discordant_chance(difference, discordant)
    spread = math.ceil(10 * math.sqrt(pairs * discordant) + 10)
    low, high = max(0, int(pairs * discordant) - spread), min(pairs, int(pairs * discordant) + spread)
    differ = np.arange(low, high + 1)
    fewest = critical_number(differ, level)
    found = stats.binom.cdf(fewest, differ, chance) + stats.binom.sf(differ - fewest - 1, differ, chance)
    return float(np.sum(stats.binom.pmf(differ, pairs, discordant) * np.where(fewest < 0, 0.0, found)))


def require_power(power: float, level: float = LEVEL) -> None:
    """Raise a UserError unless it is between the level and 1."""
    if not level < power < 1:
        raise UserError(f"power must be above {level:g} and below 1, got {power:g}")


def critical_number(differ: ArrayLike, level: float = LEVEL) -> NDArray[np.int64]:
    """The most pairs that the worse method may win alone, of those that differ, for the test to reject; -1: never."""
    numbers = np.asarray(differ, np.int64)
    tail = np.maximum(stats.binom.ppf(level / 2, numbers, 0.5), 0)
    return np.where(stats.binom.cdf(tail, numbers, 0.5) <= level / 2, tail, tail - 1).astype(np.int64)


def pairs_needed(difference: float, discordant: float, power: float = 0.8, level: float = LEVEL) -> int:
    """Pairs with which a difference is found with chance `power`; begun at Connor's formula (Biometrics 43, 1987).

    Raises:
        UserError: if the difference is 0 or larger than `discordant`, or the power is not between the level and 1.
    """
    require_power(power, level)
    if difference == 0:
        raise UserError("no number of instances shows a difference of 0")
    discordant_chance(difference, discordant)
    size = abs(difference)
    at_level, at_power = stats.norm.ppf(1 - level / 2), stats.norm.ppf(power)
    root = at_level * math.sqrt(discordant) + at_power * math.sqrt(max(discordant - size**2, 0.0))
    low, high = FEWEST, max(2 * FEWEST, math.ceil((root / size) ** 2))
    while mcnemar_power(high, size, discordant, level) < power:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        enough = mcnemar_power(middle, size, discordant, level) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high


def detectable_difference(pairs: int, discordant: float, power: float = 0.8, level: float = LEVEL) -> float | None:
    """The smallest difference that so many pairs show with chance `power`; None where they show none."""

    def missing(difference: float) -> float:
        return mcnemar_power(pairs, difference, discordant, level) - power

    if discordant == 0 or missing(discordant) < 0:
        return None
    return float(optimize.brentq(missing, 0.0, discordant, xtol=1e-4))


def discordant_chance(difference: float, discordant: float) -> float:
    """Chance that the better method wins a pair that differs.

    Raises:
        UserError: if fewer pairs differ than the difference takes.
    """
    if not 0 < discordant <= 1 or abs(difference) > discordant:
        raise UserError(f"a difference of {difference:g} takes as many pairs that differ, got {discordant:g}")
    return 0.5 * (1 + abs(difference) / discordant)
