"""Two success rates on the same instances: their difference with its interval, and a test."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from wmplan.errors import UserError

LARGEST = 1 - 1e-9
"""Ends of intervals are looked for up to this difference of rates: at 1 the score is not defined."""


@dataclass(frozen=True)
class PairedTest:
    """Two success rates on the same instances, each played under the same planner seeds.

    Attributes:
        difference: the second rate less the first.
        ci95: its score interval at 95 % (see paired_interval).
        only_first, only_second: episodes in which only the one succeeded.
        p_value: of the exact two-sided test that both are equally good (see sign_flip_test).
        instances: how many there are.
        effective_n: how many independent pairs the episodes are worth.
    """

    difference: float
    ci95: tuple[float, float]
    only_first: int
    only_second: int
    p_value: float
    instances: int
    effective_n: float


def mcnemar(first: ArrayLike, second: ArrayLike) -> PairedTest:
    """Compare two methods on the same instances.

    With one planner seed: McNemar's exact test (1947) and Tango's interval. Episodes of one instance under several
    seeds are not independent: the test then flips whole instances, and the interval is that of the effective number.

    Args:
        first, second: success, of shape (instances,) or (instances, planner seeds).

    Raises:
        UserError: if the shapes differ or there are no instances.
    """
    a, b = (np.asarray(one, bool).astype(np.int64) for one in (first, second))
    if a.shape != b.shape or a.size == 0:
        raise UserError(f"a paired test needs the same trials twice; there are {a.size} and {b.size}")
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    only_first, only_second = int((a > b).sum()), int((b > a).sum())
    pairs = effective_pairs(b - a)
    share = pairs / a.size
    return PairedTest(
        difference=(only_second - only_first) / a.size,
        ci95=paired_interval(only_first * share, only_second * share, pairs),
        only_first=only_first,
        only_second=only_second,
        p_value=sign_flip_test((b - a).sum(axis=1)),
        instances=len(a),
        effective_n=pairs,
    )


def paired_interval(
    only_first: float, only_second: float, pairs: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Tango's score interval of the second rate less the first (Statistics in Medicine 17, 1998, 891-908).

    It keeps its level where few pairs differ, and exists where none does. The numbers need not be whole.

    Args:
        only_first, only_second: pairs in which only the one succeeded.
        pairs: all of them.

    Raises:
        UserError: if there are no pairs, or more differ than there are.
    """
    if not pairs > 0 or min(only_first, only_second) < 0 or only_first + only_second > pairs * (1 + 1e-9):
        raise UserError(f"{only_first} and {only_second} of {pairs} pairs cannot differ")
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    found = (only_second - only_first) / pairs
    middle = min(max(found, -LARGEST), LARGEST)

    def end(side: int, furthest: float) -> float:
        def beyond(difference: float) -> float:
            return _score(difference, only_first, only_second, pairs) + side * z

        reached = side * beyond(furthest) <= 0
        return float(optimize.brentq(beyond, middle, furthest, xtol=1e-12)) if reached else furthest

    low = -1.0 if found <= -LARGEST else end(-1, -LARGEST)
    high = 1.0 if found >= LARGEST else end(1, LARGEST)
    return low, high


def _score(difference: float, only_first: float, only_second: float, pairs: float) -> float:
    """By how many standard errors the observed difference is above `difference` (Tango 1998, equation 20)."""
    gained = only_second - only_first
    linear = (2 * pairs - gained) * difference - only_first - only_second
    constant = -only_first * difference * (1 - difference)
    # The likeliest share of pairs that only the first wins, if this is the difference.
    losing = max((math.sqrt(max(linear**2 - 8 * pairs * constant, 0.0)) - linear) / (4 * pairs), 0.0)
    variance = pairs * (2 * losing + difference * (1 - difference))
    return (gained - pairs * difference) / math.sqrt(max(variance, 1e-300))


def sign_flip_test(differences: ArrayLike) -> float:
    """Exact two-sided p-value that two methods are equally good on every instance.

    If they are, the difference of an instance may as well have the other sign: the p-value is the share of all flips of
    signs whose sum is as large (Fisher's randomisation test). With one planner seed it is McNemar's exact test.

    Args:
        differences: successes of the second less those of the first, whole numbers, one an instance.
    """
    signed = np.asarray(differences, np.int64)
    chances: NDArray[np.float64] = np.ones(1)  # of each sum of those flipped so far, the middle one being 0
    for size in np.abs(signed[signed != 0]):
        chances = 0.5 * (np.pad(chances, (2 * size, 0)) + np.pad(chances, (0, 2 * size)))
    sums = np.arange(len(chances)) - len(chances) // 2
    return float(min(chances[np.abs(sums) >= abs(signed.sum())].sum(), 1.0))


def effective_pairs(differences: NDArray[np.int64]) -> float:
    """How many independent pairs differences (instances, planner seeds) are worth, by Kish's design effect.

    The variance of one difference over that of the instances' means says how much the seeds add: from the number of
    instances (seeds always agree, or nothing can be said) to that of episodes.
    """
    instances, single = len(differences), float(differences.var())
    between = float(differences.mean(axis=1).var())
    if single == 0:
        return float(instances)
    if between == 0:
        return float(differences.size)
    return float(np.clip(instances * single / between, instances, differences.size))
