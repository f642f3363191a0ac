"""How robots approach their goals: how much of the time to arrive is over, and when it counts anew.

It counts from a reset or a new goal on, and anew once a robot is seen to have been put elsewhere, or is late and was
driven off its goal or is still under way. So a robot that goes on, begins a new episode that nobody tells of, or is
pushed is planned for as at first, and one that holds its goal is held. One that is late and beside its goal tries once
more, in half the time: a plan that looks no further than the next step cannot take a pusher round a block.

Distances are the objective's own, and are compared with how far the robot's strongest actions lead by the model's
prediction, or with how exact that is: no threshold in the units of a latent or of a cost is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from wmplan.control.schedule import Schedule
from wmplan.control.surprise import standardised_error
from wmplan.models.base import WorldModel
from wmplan.planning.cost import copies
from wmplan.planning.objectives.combinations import start
from wmplan.planning.objectives.distances import Objective
from wmplan.planning.objectives.parts import RobotAnywhere

MARGIN = 2.0
"""Times its reach that a robot has to be off before something else moved it: no prediction is exact."""
SURPRISING = 4.0
"""Usual one-step errors, root mean square, that show the same: on Push-T 216 ordinary steps had at most 3.2, the median
0.9, and scenes that were put elsewhere 6 to 23. Distances alone can miss it, since they saturate."""

BESIDE = 3.0
"""Usual one-step errors, root mean square, between a late robot's latent and its goal's that are worth another try: on
Push-T, of 200 robots, those who held their goals had at most 2.2 (99 %), those who had missed them 1.5 to 12. From
nearer, as many lose a goal that they held as reach one that they had missed."""


@dataclass(frozen=True)
class Reach:
    """How far a robot's strongest actions lead away from where it was when it first headed for its goal.

    Attributes:
        step: in one model step.
        plan: in the shortest plan, of min_horizon model steps.
    """

    step: float
    plan: float


@dataclass(frozen=True)
class Approach:
    """One robot's way to its goal since it set out.

    Attributes:
        elapsed: robot steps.
        start: distance from the goal when it set out.
        nearest: the smallest since, at the frames that were planned from.
        reach: None before the first frame.
        is_second_try: whether it set out again because it was late and beside its goal.
    """

    elapsed: int = 0
    start: float = math.inf
    nearest: float = math.inf
    reach: Reach | None = None
    is_second_try: bool = False

    def later(self, steps: int) -> Approach:
        """The same so many robot steps later."""
        return replace(self, elapsed=self.elapsed + steps)

    def seen(
        self, distance: float, reach: Reach, was_moved: bool, is_late: bool, is_beside: bool, half_way: int
    ) -> Approach:
        """With the distance from the goal that is seen now, which may show that the robot has to set out again.

        It has to where it was moved. Where it is late, it has to if it has been nearer by more than its reach, so that
        it was driven off; or if it is out of reach and came nearer by more than that, so that it is still under way.
        Where it is late and beside its goal, it tries a second time, as from `half_way`, and not a third: some goals
        cannot be reached.
        """
        was_driven_off = distance > self.nearest + reach.plan
        is_under_way = distance > reach.plan and self.start > self.nearest + reach.plan
        if not self.elapsed:
            return replace(self, start=distance, nearest=distance, reach=reach)
        if was_moved or (is_late and (was_driven_off or is_under_way)):
            return Approach(0, distance, distance, reach)
        if is_late and is_beside and not self.is_second_try:
            return Approach(half_way, distance, distance, reach, is_second_try=True)
        return replace(self, nearest=min(self.nearest, distance), reach=reach)


@torch.no_grad()
def continued(
    model: WorldModel,
    objective: Objective,
    schedule: Schedule,
    context: Tensor,
    past_actions: Tensor | None,
    goal: Tensor,
    approaches: Sequence[Approach],
) -> list[Approach]:
    """The approaches of B robots with what is seen now.

    Args:
        context: latents of the last T frames, (B, T, *latent).
        past_actions: executed between them, (B, T - 1, A); None where T is 1.
        goal: latents of the goals, (B, *latent).
        approaches: up to this robot step.
    """
    if schedule.arrival_step is None:
        return list(approaches)
    here, measure = context[:, -1], start(objective, *copies(goal, goal))
    reaches = [one.reach for one in approaches if one.reach is not None]
    if len(reaches) < len(approaches):
        fresh = reaches_around(model, measure, here, schedule.min_horizon)
        reaches = [one.reach or new for one, new in zip(approaches, fresh, strict=True)]
    left = distances(model, measure, here[:, None], goal)[:, 0].tolist()
    moved = [False] * len(left)
    if past_actions is not None and any(one.elapsed for one in approaches):
        before = context[:, -2]
        steps = here.new_tensor([reach.step for reach in reaches])
        is_far = distances(model, measure, here[:, None], before)[:, 0] > steps
        if bool(is_far.any()):  # a closer look, which costs a prediction
            moved = (is_far & was_moved(model, measure, before, past_actions[:, -1], here)).tolist()
    late = [schedule.is_late(one.elapsed, model.spec.action_block) for one in approaches]
    beside = [False] * len(left)
    if model.error_scale is not None and model.error_scale.ndim == 1 and any(late):
        beside = (errors_away(model.error_scale, measure, model, here, goal) > BESIDE).tolist()
    rows = zip(approaches, left, reaches, moved, late, beside, strict=True)
    return [one.seen(*what, half_way=schedule.arrival_step // 2) for one, *what in rows]


def errors_away(scale: Tensor, measure: Objective, model: WorldModel, here: Tensor, goal: Tensor) -> Tensor:
    """How many usual errors, root mean square, B robots at latents (B, L) are from their goals: (B,).

    Numbers of the latent that the objective does not ask for do not count.

    Args:
        scale: deviation of the one-step error on held-out data, (L,).
        goal: (B, L).
    """
    if isinstance(measure, RobotAnywhere):
        here = measure.placed(here, goal)
    aside = goal[:, None] + torch.diag(BESIDE * scale)  # (B, L, L), each off by one number
    counts = distances(model, measure, aside, goal) > 0  # (B, L)
    share = counts.float().mean(-1).clamp(min=1 / len(scale))
    return standardised_error((here - goal) * counts, scale) / share.sqrt()


def reaches_around(model: WorldModel, measure: Objective, here: Tensor, shortest: int) -> list[Reach]:
    """Of B robots at latents (B, *latent), where the shortest plan has so many model steps."""
    ends = model.rollout(here[:, None].clone(), _strongest_actions(model, shortest, here))  # (B, 2 a, steps, *latent)
    step, plan = (distances(model, measure, ends[:, :, at], here).amax(1).tolist() for at in (0, -1))
    return [Reach(*one) for one in zip(step, plan, strict=True)]


def was_moved(model: WorldModel, measure: Objective, before: Tensor, done: Tensor, here: Tensor) -> Tensor:
    """Whether each robot, (B,), is where its actions cannot have led it.

    Either it is much farther from where they should have led it than any could have led it, or the prediction was wrong
    as it never is by itself, for models that know their usual error.

    Args:
        before, here: latents of two frames a model step apart, (B, *latent).
        done: what was executed between them, (B, A).
    """
    actions = torch.cat([done[:, None, None], _strongest_actions(model, 1, before)], 1)
    ends = model.rollout(before[:, None].clone(), actions)[:, :, -1]  # (B, 1 + 2 a, *latent)
    off = distances(model, measure, here[:, None], ends[:, 0])[:, 0]
    moved = off > MARGIN * distances(model, measure, ends[:, 1:], before).amax(1)
    if model.error_scale is None:
        return moved
    return moved | (standardised_error(here - ends[:, 0], model.error_scale) > SURPRISING)


def distances(model: WorldModel, measure: Objective, latents: Tensor, to: Tensor) -> Tensor:
    """How much more latents (B, S, *latent) cost than `to` (B, *latent) itself where that is the goal: (B, S)."""
    ends = torch.cat([latents, to[:, None]], 1)[:, :, None]
    costs = measure(ends, to.clone(), ends.new_zeros(*ends.shape[:3], model.spec.block_dim))
    return costs[:, :-1] - costs[:, -1:]


def _strongest_actions(model: WorldModel, steps: int, like: Tensor) -> Tensor:
    """Each number of the action held at either bound, the others as near to 0 as they may be: (B, 2 a, steps, A)."""
    spec = model.spec
    low, high = like.new_tensor(spec.action_low), like.new_tensor(spec.action_high)
    rest, this = torch.zeros_like(low).clamp(low, high), torch.eye(len(low), dtype=torch.bool, device=like.device)
    actions = torch.cat([torch.where(this, bound, rest) for bound in (low, high)])  # (2 a, a)
    return actions.repeat(1, spec.action_block)[:, None].expand(len(like), -1, steps, -1)
