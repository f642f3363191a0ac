"""Figures of an exam from surprises: pairs by the mean or the largest of a clip's windows, AUROC by the largest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from wmplan.evaluation.intervals import effective_trials, wilson
from wmplan.exam.quadruplet import IMPOSSIBLE, POSSIBLE, Quadruplet
from wmplan.exam.subject import Window

Array = NDArray[np.float64]
RECOLOURED = 4
"""Place of the recoloured clip behind the four of a quadruplet."""
TIE = 1e-6
"""Relative difference below which surprises count as equal: rounding differs with a frame's place in its batch."""

OVER_WINDOWS: dict[str, int | None] = {"mean": None, "largest": 1, "mean of the two largest": 2}
"""How the surprise of a clip comes from that of its windows, where it is compared with its pair: how many count.

Windows behind the break show a possible world again, which of the two being chance: in a mean they count as much as the
few that show the exchange. The largest leaves them out, where what a model is used to find hard is not larger still;
and what is exchanged goes and comes, which two windows may show.
"""


@dataclass(frozen=True, eq=False)
class Sitting:
    """What one subject made of the quadruplets of one property.

    Attributes:
        quadruplets: what is known of each, see `described`.
        surprise: at each clip, from its windows as was chosen, (Q, 5).
        largest: of its windows, (Q, 5).
        over_time: mean surprise of windows by their last frame less the break, for possible and impossible clips:
            offsets (W,), then two rows (2, W).
    """

    quadruplets: Sequence[dict[str, Any]]
    surprise: Array
    largest: Array
    over_time: tuple[NDArray[np.int64], Array]


def described(one: Quadruplet) -> dict[str, Any]:
    """What figures need of a quadruplet."""
    return {
        "index": one.index,
        "occluded": one.occluded,
        "severity": one.severity,
        "break_at": one.break_at,
        "sha256": one.sha256,
    }


def over_windows(surprise: Array, how: str) -> Array:
    """Surprise at clips (...,) from that at their windows (..., count); see OVER_WINDOWS."""
    found: Array = np.sort(surprise, -1)[..., -(OVER_WINDOWS[how] or 0) :].mean(-1)
    return found


def pairs_won(surprise: Array) -> Array:
    """1 where an impossible clip surprises more than the possible one that is the same up to the break, 1/2 for a tie.

    Args:
        surprise: (Q, 4 or more), the clips of a quadruplet in their order.

    Returns:
        (Q, 2).
    """
    return won(surprise[:, IMPOSSIBLE], surprise[:, POSSIBLE])


def won(more: Array, less: Array) -> Array:
    """1 where `more` is above `less`, 1/2 where they are equal but for rounding."""
    equal = np.abs(more - less) <= TIE * np.maximum(np.abs(more), np.abs(less))
    return np.where(equal, 0.5, (more > less).astype(np.float64))


def rate(outcomes: Array) -> dict[str, Any]:
    """Rate of outcomes (Q, n) from 0 to 1, with Wilson's interval for as many trials as they are worth."""
    trials = effective_trials(outcomes)
    value = float(outcomes.mean())
    return {"rate": value, "ci95": list(wilson(value * trials, trials)), "trials": trials}


def auroc(possible: Array, impossible: Array) -> float:
    """Probability that an impossible clip scores above a possible one, ties counting half (Mann-Whitney)."""
    ranks = stats.rankdata(np.concatenate([impossible.ravel(), possible.ravel()]))
    above = ranks[: impossible.size].sum() - impossible.size * (impossible.size + 1) / 2
    return float(above / (impossible.size * possible.size))


def figures(sitting: Sitting) -> dict[str, Any]:
    """All figures of one subject on one property."""
    surprise, largest = sitting.surprise, sitting.largest
    outcomes = pairs_won(surprise)
    both = won(surprise[:, IMPOSSIBLE].sum(1), surprise[:, POSSIBLE].sum(1))[:, None]
    hidden = np.array([one["occluded"] for one in sitting.quadruplets])
    severity = np.array([one["severity"] for one in sitting.quadruplets])
    parts = {"occluded": hidden, "in_view": ~hidden}
    return {
        "pairwise": rate(outcomes),
        "quadruplets": rate(both),
        "auroc": auroc(largest[:, POSSIBLE], largest[:, IMPOSSIBLE]),
        **{name: rate(outcomes[chosen]) if chosen.any() else None for name, chosen in parts.items()},
        "by_severity": by_severity(outcomes, severity),
        "recoloured_above_possible": rate(won(surprise[:, RECOLOURED], surprise[:, 0])[:, None]),
        "recoloured_above_violation": rate(won(surprise[:, RECOLOURED], surprise[:, IMPOSSIBLE[0]])[:, None]),
    }


def by_severity(outcomes: Array, severity: Array, groups: int = 3) -> list[dict[str, Any]]:
    """Rates in groups of equal size by severity, the mildest first."""
    order = np.argsort(severity, kind="stable")
    found = []
    for group in np.array_split(order, min(groups, len(order))):
        found.append({"from": float(severity[group[0]]), "to": float(severity[group[-1]]), **rate(outcomes[group])})
    return found


def over_time(surprise: Array, breaks: Sequence[int], window: Window, length: int) -> tuple[NDArray[np.int64], Array]:
    """Mean surprise of windows by where they end, in frames after the break.

    Args:
        surprise: (Q, 5, count).

    Returns:
        Offsets (W,), and means over possible and impossible clips (2, W), NaN where there is no window.
    """
    ends = window.ends(length)
    offsets = np.arange(-length + 1, length)
    sums, counts = np.zeros((2, len(offsets))), np.zeros(len(offsets))
    for values, begin in zip(surprise, breaks, strict=True):
        places = ends - begin + length - 1
        sums[0, places] += values[list(POSSIBLE)].mean(0)
        sums[1, places] += values[list(IMPOSSIBLE)].mean(0)
        counts[places] += 1
    seen = counts > 0
    return offsets[seen], sums[:, seen] / counts[seen]
