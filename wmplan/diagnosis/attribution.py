"""The rules by which a failed episode is put down to the encoder, the predictor, the objective or the search.

One replan. The plan that was chosen is set against a better one, found by a search in the true simulator with the true
distance that started from it. The regret is how much closer the better plan really comes to the goal, in the task's
distance (about 1 where the first rule begins to hold). Where there is regret, the first that holds is to blame:

1. search      the planner's own cost is lower for the better plan: it would have been taken, had the search found it.
2. objective   the states that the probe reads off the predicted latents show at least half of the regret: encoder and
               predictor tell the two plans apart, the cost made of their latents does not.
3. predictor   the states that the probe reads off the latents of the true outcomes show it: the encoder tells the plans
               apart once it sees where they lead, the predictor did not say so.
4. encoder     nothing read off the latents shows it.

(1 against 2 to 4 is the optimisation verification test: a search error or a model error.)

One episode. A part that is broken for all plans comes first, then what really happens when one part is replaced, then
what its single plans say:

1. encoder     the states read off the latents of its own frames are off by more than the goal's tolerance (median): all
               that follows plans with a world it cannot see well enough.
2. objective   with the distance read by the probe in place of the cost, and all else as it was, the episode succeeds.
3. search      with the true simulator and the true distance in place of model and cost, it still fails, and comes
               hardly closer: more than half as far from the goal as the planner at its closest.
4. otherwise   what the most regret of its replans is put down to. Where no replan shows regret: "predictor" if the
               states read off the plans' predicted latents are off by more than the goal's tolerance, else "search"
               (the chosen plans were as good as any found, but did not get there in the time there was).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

Part = Literal["encoder", "predictor", "objective", "search"]
PARTS: tuple[Part, ...] = ("encoder", "predictor", "objective", "search")

LEAST_REGRET = 0.25
"""Regret below this, in the task's distance, is not worth an explanation."""
SHOWN = 0.5
"""Share of the regret that a reading has to show for what it is read from to be cleared."""
TOLERANCE = 1.0
"""The task's distance at which its first rule begins to hold."""


@dataclass(frozen=True)
class PlanPair:
    """The chosen plan against a better one, (chosen, better) each, at one replan.

    Attributes:
        true: distance to the goal that the simulator says they reach.
        cost: by the planner's own cost.
        predicted: distance read by the probe off the predicted latents.
        seen: distance read by the probe off the latents of the true outcomes.
    """

    true: tuple[float, float]
    cost: tuple[float, float]
    predicted: tuple[float, float]
    seen: tuple[float, float]

    @property
    def regret(self) -> float:
        """How much closer the better plan really comes to the goal."""
        return max(self.true[0] - self.true[1], 0.0)

    def blame(self) -> Part | None:
        """Which part lost the regret, None where there is next to none."""
        if self.regret < LEAST_REGRET:
            return None
        if self.cost[1] < self.cost[0]:
            return "search"
        if self.predicted[0] - self.predicted[1] >= SHOWN * self.regret:
            return "objective"
        if self.seen[0] - self.seen[1] >= SHOWN * self.regret:
            return "predictor"
        return "encoder"


def regret_by_part(pairs: Sequence[PlanPair]) -> dict[str, float]:
    """Regret of all replans, by the part to blame."""
    total = dict.fromkeys(PARTS, 0.0)
    for pair in pairs:
        part = pair.blame()
        if part is not None:
            total[part] += pair.regret
    return {str(part): value for part, value in total.items()}


def verdict(
    pairs: Sequence[PlanPair],
    *,
    probe_succeeds: bool,
    oracle_helps: bool | None,
    encoder_error: float,
    predictor_error: float,
) -> Part:
    """The part that an episode's failure is put down to, by the rules above.

    Args:
        pairs: one for each replan.
        probe_succeeds: whether the episode succeeds with the probe's distance for the cost.
        oracle_helps: whether it succeeds with the true simulator and distance, or comes to half the distance; None
            where that was not tried.
        encoder_error: median distance between true states and those read off their own latents.
        predictor_error: the same for those read off the latents predicted for the end of the chosen plans.
    """
    if encoder_error > TOLERANCE:
        return "encoder"
    if probe_succeeds:
        return "objective"
    if oracle_helps is False:
        return "search"
    regret = regret_by_part(pairs)
    if max(regret.values(), default=0.0) > 0:
        return max(PARTS, key=lambda part: regret[part])
    return "predictor" if predictor_error > TOLERANCE else "search"


def rank_correlation(cost: ArrayLike, distance: ArrayLike) -> float:
    """Spearman's rank correlation; NaN where either is the same for all.

    1: the cost orders the candidates as their true outcomes do. Costs that are not finite rank last.
    """
    ranks = [rankdata(np.nan_to_num(np.asarray(values, float), nan=np.inf)) for values in (cost, distance)]
    deviations = [rank - rank.mean() for rank in ranks]
    spread = np.sqrt(np.prod([float(deviation @ deviation) for deviation in deviations]))
    return float(deviations[0] @ deviations[1] / spread) if spread > 0 else float("nan")
