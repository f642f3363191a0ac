"""Objectives that measure a distance from the goal's latent, and one of the actions alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from wmplan.errors import UserError
from wmplan.planning.objectives.combinations import WeightedSum
from wmplan.planning.objectives.objective import Objective
from wmplan.settings.build import convert_fields
from wmplan.settings.numbers import finite_number

STEPS = ("last", "sum", "min", "discounted")


def reduce_steps(by_step: Tensor, steps: str, discount: float = 0.8) -> Tensor:
    """Costs (B, S) from those of each step (B, S, H).

    "last", "sum" and "min" are that; "discounted" is a mean weighted by discount^(steps before the last).
    """
    if steps == "last":
        return by_step[..., -1]
    if steps == "sum":
        return by_step.sum(-1)
    if steps == "min":
        return by_step.amin(-1)
    weight = discount ** torch.arange(by_step.shape[-1] - 1, -1, -1, device=by_step.device, dtype=by_step.dtype)
    return (by_step * (weight / weight.sum())).sum(-1)


def check_steps(steps: str, executed: float = 0.0) -> None:
    """Raise a UserError if there is no such reduction, or the weight is not a number of at least 0."""
    if steps not in STEPS:
        raise UserError(f"steps must be one of {', '.join(STEPS)}, got {steps!r}")
    if finite_number(executed, "executed") < 0:
        raise UserError(f"executed must be at least 0, got {executed!r}")


def at_least_float32(values: Tensor) -> Tensor:
    """The same, float32 where it was of half precision: its squares overflow, and its costs hardly tell plans apart."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


class _OverSteps(Objective):
    """An objective that measures each step and reduces them."""

    steps: str
    executed: float

    @property
    def last_only(self) -> bool:
        """Whether only the last step is read."""
        return self.steps == "last"

    @property
    def at_executed(self) -> Objective | None:
        """The same measure, weighted, where the executed prefix ends."""
        if not self.executed:
            return None
        there: Objective = replace(self, steps="last", executed=0.0)  # type: ignore[type-var]
        return WeightedSum([(self.executed, there)])

    def distance(self, predicted: Tensor, goal: Tensor) -> Tensor:
        """Costs (B, S, H) of predicted latents (B, S, H, *latent) against goals (B, *latent)."""
        raise NotImplementedError

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        if self.steps == "last":
            predicted = predicted[:, :, -1:]
        return reduce_steps(self.distance(predicted, goal), self.steps)


@dataclass(frozen=True)
class LatentDistance(_OverSteps):
    """Distance between predicted and goal latent, a mean over the latent's L numbers.

    Attributes:
        kind: "l2" (squared), "l1", or "cosine" (1 minus the cosine of the angle between them).
        steps: how the steps of a plan are reduced: "last", "sum", "min" or "discounted".
        whitening: (L, L), multiplies the difference first (both latents, for the cosine).
        size: numbers of a flat latent that count, from the first; all of them if None. It leaves out the proprio.
        executed: weight of the same distance at the end of the executed prefix, beside these steps.
    """

    kind: str = "l2"
    steps: str = "last"
    whitening: Tensor | None = None
    size: int | None = None
    executed: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("l2", "l1", "cosine"):
            raise UserError(f"kind must be l2, l1 or cosine, got {self.kind!r}")
        check_steps(self.steps, self.executed)
        if self.whitening is not None and (
            self.whitening.ndim != 2 or self.whitening.shape[0] != self.whitening.shape[1]
        ):
            raise UserError(f"whitening must be square, got shape {tuple(self.whitening.shape)}")

    def distance(self, predicted: Tensor, goal: Tensor) -> Tensor:
        predicted, target = at_least_float32(predicted), at_least_float32(goal)
        predicted, target = predicted.flatten(3), target.flatten(1)[:, None, None]  # (B, S, H, L), (B, 1, 1, L)
        if self.size is not None:
            predicted, target = predicted[..., : self.size], target[..., : self.size]
        if self.whitening is not None and self.whitening.shape[0] != target.shape[-1]:
            raise UserError(f"whitening is for {self.whitening.shape[0]} numbers, the latents have {target.shape[-1]}")
        whitening = None if self.whitening is None else self.whitening.to(target.dtype)
        if self.kind == "cosine":
            if whitening is not None:
                predicted, target = predicted @ whitening.T, target @ whitening.T
            return 1.0 - torch.cosine_similarity(predicted, target, dim=-1)
        difference = predicted - target
        if whitening is not None:
            difference = difference @ whitening.T
        return difference.square().mean(-1) if self.kind == "l2" else difference.abs().mean(-1)


@dataclass(frozen=True)
class ProprioDistance(_OverSteps):
    """Mean distance between the robot states at the end of flat latents, in their standard deviations.

    Attributes:
        dim: numbers of robot state, the last of the latent.
        steps: how the steps of a plan are reduced.
        weight_by: one weight for each of these numbers, or None for equal ones.
        read: gives the states (..., dim) of latents (..., L) in place of the last numbers. Where a model reads the
            goal's state off its image, the states that lead there are best read in the same way: what it misreads
            is then misread on both sides, and is no error once the pictures are alike.
        executed: weight of the same distance at the end of the executed prefix, beside these steps.
        kind: "l2" (squared) or "l1", which asks as much of the last millimetre as of the first: a robot that is far
            from its goal does not outweigh all else, and still comes to it exactly.
    """

    dim: int
    steps: str = "last"
    weight_by: tuple[float, ...] | None = None
    read: Callable[[Tensor], Tensor] | None = None
    executed: float = 0.0
    kind: str = "l2"

    def __post_init__(self) -> None:
        check_steps(self.steps, self.executed)
        if self.kind not in ("l2", "l1"):
            raise UserError(f"kind must be l2 or l1, got {self.kind!r}")
        if self.dim < 1:
            raise UserError(f"dim must be at least 1, got {self.dim}: the latent has to hold robot state")
        if self.weight_by is not None and len(self.weight_by) != self.dim:
            raise UserError(f"weight_by has {len(self.weight_by)} entries, it has to have {self.dim}")

    def distance(self, predicted: Tensor, goal: Tensor) -> Tensor:
        states = [at_least_float32(self.read(z) if self.read else z[..., -self.dim :]) for z in (predicted, goal)]
        apart = states[0] - states[1][:, None, None]
        each = apart.square() if self.kind == "l2" else apart.abs()
        if self.weight_by is not None:
            each = each * torch.tensor(self.weight_by, dtype=each.dtype, device=each.device)
        return each.mean(-1)


@dataclass(frozen=True)
class WorkspaceLimit(Objective):
    """How far the robot is beyond given bounds, squared, in standard deviations.

    It is read after the last step, and where the executed prefix ends: what lies between is planned anew before the
    robot is there. A cost of the last step alone leaves the way open, and where no data was a model is wrong: plans
    that leave the camera's picture, or the region that was recorded, look good to it now and then.

    Attributes:
        low, high: bounds of the P standardised robot states at the end of flat latents; infinite for none.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def last_only(self) -> bool:
        return True

    @property
    def at_executed(self) -> Objective:
        return self

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        states = at_least_float32(predicted[:, :, -1, -len(self.low) :])  # (B, S, P)
        beyond = (states.new_tensor(self.low) - states).relu() + (states - states.new_tensor(self.high)).relu()
        return beyond.square().sum(-1)


@dataclass(frozen=True)
class CriticDistance(_OverSteps):
    """What a critic says of the way from predicted to goal latent, in model steps.

    Attributes:
        critic: from latents (..., L) and goals (..., L) to steps-to-goal (...).
        steps: how the steps of a plan are reduced.
        executed: weight of the same at the end of the executed prefix, beside these steps.
    """

    critic: Callable[[Tensor, Tensor], Tensor]
    steps: str = "last"
    executed: float = 0.0

    def __post_init__(self) -> None:
        check_steps(self.steps, self.executed)

    def distance(self, predicted: Tensor, goal: Tensor) -> Tensor:
        return self.critic(predicted, goal[:, None, None].expand_as(predicted))


@dataclass(frozen=True)
class ActionPenalty(Objective):
    """Mean square of the actions, and of their change between robot steps, both in halves of the action range.

    Attributes:
        low, high: bounds of one robot step's action, of length action_dim.
        effort: weight of the square of the action.
        change: weight of the square of its change.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    effort: float = 1.0
    change: float = 0.0

    def __post_init__(self) -> None:
        convert_fields(self)
        if len(self.low) != len(self.high) or not self.low:
            raise UserError(f"low has {len(self.low)} entries, high has {len(self.high)}")

    @property
    def last_only(self) -> bool:
        """No latent is read at all."""
        return True

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        half = (actions.new_tensor(self.high) - actions.new_tensor(self.low)).clamp(min=1e-12) / 2
        scaled = actions.unflatten(-1, (-1, len(self.low))).flatten(2, 3) / half  # (B, S, robot steps, action_dim)
        cost = self.effort * scaled.square().mean((2, 3))
        if self.change and scaled.shape[2] > 1:
            cost = cost + self.change * scaled.diff(dim=2).square().mean((2, 3))
        return cost
