"""One number that ranks models as their success does, from recorded episodes alone.

Success needs all of these at once, so the score is their geometric mean, 0 to 100:

    prediction   1 / (1 + r^2), r being the error over that of copying the last frame, mean over a plan's steps
    choice       how often the recorded actions cost less than the same a quarter of the way to others', above chance
    resolution   1 / (1 + c), c being the recorded actions' cost over that of the others: the model's error in the cost
    actions      the action score of plans to recorded frames
    sight        whether alike latents come from alike frames: an encoder that sees no object can be predicted well

Each lies between 0 and 1 for any encoder. Distances in latents do not: they tell two models apart by nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from wmplan.validation.action_rank import ActionRank
from wmplan.validation.nearest import Neighbours
from wmplan.validation.open_loop import OpenLoop
from wmplan.validation.planned_actions import PlannedActions

LEAST = 0.01
"""Of a part: one that is 0 does not hide how good the others are."""


@dataclass(frozen=True)
class ScoreParts:
    """What the score is the geometric mean of, each from 0 to 1."""

    prediction: float
    choice: float
    resolution: float
    actions: float
    sight: float

    @property
    def score(self) -> float:
        """From 0 to 100."""
        return 100 * math.exp(mean([math.log(max(LEAST, part)) for part in asdict(self).values()]))


def score_parts(
    horizon: int, loop: OpenLoop, rank: ActionRank, planned: PlannedActions, seen: Neighbours
) -> ScoreParts:
    """The parts of a model that plans `horizon` model steps ahead."""
    return ScoreParts(
        prediction=mean([1 / (1 + ratio**2) for ratio in loop.ratio[:horizon]]),
        choice=mean([max(0.0, 2 * beats - 1) for beats in rank.beats_blended[:horizon]]),
        resolution=mean([1 / (1 + max(0.0, cost)) for cost in rank.own_cost[:horizon]]),
        actions=mean([one / 100 for one in planned.action_score]),
        sight=seen.agreement,
    )


def mean(values: Sequence[float]) -> float:
    """The mean; 0 without any."""
    return sum(values) / len(values) if values else 0.0
