"""The cost of candidates under a world model: roll out, compare with the goal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from wmplan.device import free_bytes, upload
from wmplan.errors import UserError
from wmplan.planning.constraints import HardConstraint, SoftConstraint, apply
from wmplan.planning.cost_function import Evaluation
from wmplan.planning.latent_model import LatentModel
from wmplan.planning.objectives.combinations import start
from wmplan.planning.objectives.objective import Objective, ObjectiveFunction, as_objective

M = TypeVar("M", bound=LatentModel)
SMALL = 2**26
"""Bytes of candidates that are rolled out at once without asking what the device has free, which takes longer."""


def copies(*tensors: Tensor | None) -> list[Any]:
    """The same in memory of their own, for a function that is not ours.

    A model that normalises its actions in place, or an objective its latents, would else change the plans that are
    searched, or what the next iteration starts from.
    """
    return [None if tensor is None else tensor.clone() for tensor in tensors]


@torch.no_grad()
def newest_error(model: LatentModel, context: Tensor, past_actions: Tensor) -> Tensor:
    """The newest frame's latent less what the frames before it predict, (B, *latent), within three usual deviations.

    Args:
        context: (B, T, *latent), T at least 2.
        past_actions: executed between the context's frames, (B, T - 1, A).
    """
    before = past_actions[:, :-1] if past_actions.shape[1] > 1 else None
    predicted = model.rollout(*copies(context[:, :-1], past_actions[:, None, -1:], before))[:, 0, 0]
    error = context[:, -1] - predicted
    usual = model.error_scale
    return error if usual is None else error.clamp(-3 * usual, 3 * usual)


def reads_between_model_steps(model: LatentModel, objective: Objective | ObjectiveFunction) -> bool:
    """Whether a plan's end can lie between model steps: the model is read there, and the objective reads the end."""
    return model.reads_robot_steps and as_objective(objective).last_only


@dataclass(frozen=True)
class Arrival:
    """From when on the goal should be kept.

    Attributes:
        steps: of each row, (B, 1), in model steps, or in robot steps where it may lie between these.
        earliest: of all rows.
    """

    steps: Tensor
    earliest: int


class LatentCost(Generic[M]):
    """Costs (B, S) of candidates (B, S, H, A) under a world model: one plan's Cost.

    The context and the goal come encoded, once a plan. Candidates are rolled out in chunks whose memory is bounded.
    A model may have `rollout_last(context, actions, past_actions)`, predicted latents (B, S, 1, *latent) after the
    last step alone; it is used where nothing else is read. It may have `rollout_bytes(horizon)`, the working
    memory of one candidate. Where its `reads_robot_steps` is true, `rollout_at(context, actions, past_actions, steps)`
    gives its predictions after any numbers of robot steps.

    Args:
        model: the world model.
        objective: the cost of predicted latents.
        context: latents of the last T frames, of shape (B, T, *latent).
        goal: latents of the goals, of shape (B, *latent).
        past_actions: executed between the context frames, of shape (B, T - 1, A).
        max_batch_bytes: bound on a chunk's memory; by default a part of what the machine has free.
        constraints: soft and hard constraints on latents.
        arrival: model step from which on the goal should be kept, one for all or one a row, (B,); an objective that
            reads the last step alone then reads every step from this one on. It may lie between model steps where the
            model is read there: then every robot step from it on counts alike. None for the last step.
        executed: model step at which the executed prefix ends, one for all or one a row, (B,): what a robot executes
            before its next plan. Objectives may add a cost there (Objective.at_executed); it may lie between model
            steps where the model is read there, is the next model step elsewhere, and at most the candidates' end.
        correction: part of the model's newest error that is taken off all predictions, from 0 to 1. Feedback does
            away with errors that come and go; one that lasts, as where a robot holds still, it settles on, unless the
            model is corrected by it (offset-free control, Pannocchia & Rawlings 2003). Entries of the error count up
            to three deviations of the usual one: beyond that something else happened.

    Raises:
        ValueError: if the goal does not fit the context, the bound or the executed prefix is not positive, or the
            correction is not in [0, 1].
    """

    def __init__(
        self,
        model: M,
        objective: Objective | ObjectiveFunction,
        context: Tensor,
        goal: Tensor,
        past_actions: Tensor | None = None,
        max_batch_bytes: int | None = None,
        constraints: Sequence[SoftConstraint | HardConstraint] = (),
        correction: float = 0.0,
        arrival: float | Tensor | None = None,
        executed: float | Tensor = 1.0,
    ) -> None:
        if goal.shape != context[:, -1].shape:
            raise UserError(
                f"beside this context goal must have shape {tuple(context[:, -1].shape)}, got {tuple(goal.shape)}"
            )
        if max_batch_bytes is not None and max_batch_bytes < 1:
            raise UserError(f"max_batch_bytes must be at least 1, got {max_batch_bytes}")
        if not 0 <= correction <= 1:
            raise UserError(f"correction must be from 0 to 1, got {correction}")
        between = reads_between_model_steps(model, objective) and not constraints
        soonest = 1 / model.spec.action_block if between else 1.0
        if arrival is not None and float(torch.as_tensor(arrival).min()) < soonest:
            raise UserError(f"arrival must be a model step, at least {soonest:g}, got {arrival}")
        if not float(torch.as_tensor(executed).min()) > 0:
            raise UserError(f"executed must be a model step above 0, got {executed}")
        if any(constraint.on != "latents" for constraint in constraints):
            raise UserError("a constraint on actions was given to LatentCost: give it to plan()")
        self.model = model
        self.context, self.goal, self.past_actions = copies(context, goal, past_actions)
        self.constraints = tuple(constraints)
        self.offset: Tensor | None = None  # (B, 1, 1, *latent), added to what is predicted
        if correction and past_actions is not None:
            self.offset = correction * newest_error(model, context, past_actions)[:, None, None]
        with torch.no_grad():
            self.objective = start(objective, *copies(context[:, -1], goal))
        self.between = between
        self.arrival: Arrival | None = None
        if arrival is not None and self.objective.last_only:
            each = torch.as_tensor(arrival, device=context.device).expand(len(goal))[:, None]  # (B, 1)
            steps = (each * model.spec.action_block if between else each).ceil()
            self.arrival = Arrival(steps, int(steps.min()))
        self.at_executed = self.objective.at_executed
        self.executed = torch.as_tensor(executed).expand(len(goal)).cpu().double().numpy()  # (B,)
        self.last_only = self.objective.last_only and not self.constraints
        self.max_batch_bytes = max_batch_bytes

    def chunk(self, samples: int, horizon: int) -> int:
        """How many of `samples` candidates of each environment are rolled out at once."""
        size = self.model.rollout_bytes(horizon) * len(self.goal)
        if self.max_batch_bytes is None:
            if size * samples <= SMALL:
                return samples
            self.max_batch_bytes = free_bytes(self.context.device) // 4
        return max(1, self.max_batch_bytes // size)

    def predict(self, candidates: Tensor) -> Tensor:
        """Predicted latents (B, S, H, *latent), or (B, S, 1, *latent) where only the last are read."""
        ends_on_arrival = self.between or self.arrival is None or self.arrival.earliest >= candidates.shape[2]
        rollout = self.model.rollout_last if self.last_only and ends_on_arrival else self.model.rollout
        predicted = rollout(*copies(self.context, candidates, self.past_actions))
        return predicted if self.offset is None else predicted + self.offset

    def evaluate(self, candidates: Tensor, differentiable: bool = False) -> Evaluation:
        """Costs, and by how much hard constraints on latents are broken (None without any), (B, S) each."""
        parts, broken = [], []
        with torch.inference_mode(not differentiable):
            for part in candidates.to(self.context.device).split(self.chunk(*candidates.shape[1:3]), dim=1):
                added = 0.0 if self.at_executed is None else self.after_prefix(part, self.at_executed)
                if self.between and self.arrival is not None:
                    parts.append(self.kept(part, self.arrival) + added)
                    continue
                predicted, horizon = self.predict(part), part.shape[2]
                costs = self.judge(predicted, part) + added
                if self.arrival is not None:
                    for end in range(self.arrival.earliest, horizon):
                        kept = self.judge(predicted[:, :, :end], part[:, :, :end])
                        costs = costs + torch.where(self.arrival.steps <= end, kept, 0.0)
                costs, violation = apply(self.constraints, costs, predicted, part)
                parts.append(costs)
                if violation is not None:
                    broken.append(violation)
            costs = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
            return Evaluation(costs, torch.cat(broken, dim=1) if broken else None)

    def judge(self, predicted: Tensor, candidates: Tensor) -> Tensor:
        """Costs (B, S) of predicted latents (B, S, H, *latent) of candidates (B, S, H, A).

        Latents are large, and copied only where constraints read them, too: what is judged at one arrival is not read
        at another.
        """
        if self.arrival is not None:
            predicted = predicted[:, :, -1:]
        own = predicted.clone() if self.constraints else predicted
        return self.objective(own, *copies(self.goal, candidates))

    def kept(self, candidates: Tensor, arrival: Arrival) -> Tensor:
        """Costs (B, S) as a mean over the robot steps from each row's arrival to the end of the candidates."""
        end = candidates.shape[2] * self.model.spec.action_block
        steps = range(min(arrival.earliest, end), end + 1)
        context, actions, past = copies(self.context, candidates, self.past_actions)
        predicted = self.model.rollout_at(context, actions, past, steps)  # (B, S, len(steps), *latent)
        if self.offset is not None:
            predicted = predicted + self.offset
        total, count = torch.zeros_like(candidates[:, :, 0, 0]), torch.zeros_like(arrival.steps)
        for index, step in enumerate(steps):
            counts = arrival.steps.clamp(max=end) <= step  # (B, 1)
            costs = self.judge(predicted[:, :, index : index + 1], candidates)
            total, count = total + torch.where(counts, costs, 0.0), count + counts
        return total / count

    def after_prefix(self, candidates: Tensor, objective: Objective) -> Tensor:
        """Costs (B, S) where each row's executed prefix ends; no candidate is rolled out further for it."""
        block, horizon = self.model.spec.action_block, candidates.shape[2]
        grid = block if self.model.reads_robot_steps else 1  # places in a model step where latents can be read
        # Counted on the processor: on a GPU every iteration would wait for it.
        last = np.ceil((self.executed * grid).round(3)).clip(max=horizon * grid).astype(np.int64)  # (B,)
        prefix = candidates[:, :, : math.ceil(last.max() / grid)]
        places = sorted(set(last.tolist()))
        ends = upload(torch.from_numpy(last)[:, None], candidates.device)  # (B, 1)
        context, actions, past = copies(self.context, prefix, self.past_actions)
        if self.model.reads_robot_steps:
            predicted = self.model.rollout_at(context, actions, past, places)  # (B, S, len(places), *latent)
        else:
            predicted = self.model.rollout(context, actions, past)[:, :, [place - 1 for place in places]]
        if self.offset is not None:
            predicted = predicted + self.offset
        total = torch.zeros_like(candidates[:, :, 0, 0])
        for index, place in enumerate(places):
            costs = objective(predicted[:, :, index : index + 1], *copies(self.goal, candidates))
            total = torch.where(ends == place, costs, total)
        return total

    def __call__(self, candidates: Tensor) -> Tensor:
        return self.evaluate(candidates)[0]

    def differentiable(self, candidates: Tensor) -> Tensor:
        """The same costs, through which gradients reach the candidates."""
        return self.evaluate(candidates, differentiable=True)[0]
