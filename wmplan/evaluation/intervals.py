"""Intervals for success rates, and percentiles of times."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from wmplan.errors import UserError


def wilson(successes: float, trials: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a success rate (Wilson, JASA 22, 1927); `trials` need not be a whole number.

    Raises:
        ValueError: if there are no trials, or the successes are not from 0 to `trials`.
    """
    if not trials > 0 or not 0 <= successes <= trials:
        raise UserError(f"{successes} successes in {trials} trials: it must be 0 <= successes <= trials, trials > 0")
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    rate = successes / trials
    centre = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    # At 0 and all successes the bound is exact, but for rounding.
    low = 0.0 if successes == 0 else float(centre - half)
    high = 1.0 if successes == trials else float(centre + half)
    return low, high


def effective_trials(successes: ArrayLike) -> float:
    """How many independent trials successes of shape (instances, streams) are worth.

    The same instance under several random streams is not as many instances. The variance of the instances' means
    says how much the streams add: n p (1 - p) / var (Kish's design effect), from `instances` (streams always agree,
    or nothing can be said: all failed or all succeeded) to instances x streams (streams as different as instances).
    """
    outcomes = np.asarray(successes, dtype=np.float64)
    instances, streams = outcomes.shape
    rate, between = outcomes.mean(), outcomes.mean(axis=1).var()
    if rate in (0.0, 1.0):
        return float(instances)
    if between == 0:
        return float(instances * streams)
    return float(np.clip(instances * rate * (1 - rate) / between, instances, instances * streams))


def percentiles(values: ArrayLike) -> dict[str, float | None]:
    """p50, p95 and p99 of `values`, linearly interpolated; None where there are none."""
    numbers = np.asarray(values, dtype=np.float64)
    return {f"p{q}": float(np.percentile(numbers, q)) if numbers.size else None for q in (50, 95, 99)}
