"""What the numbers of an action are, and what plans of each kind keep to beside their bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wmplan.action_kinds import KINDS
from wmplan.errors import UserError
from wmplan.planning.constraints import Projection

ROTATION = 6  # numbers of a rotation
SMALLEST = 1e-6  # length of a vector that has a direction


def kinds_of_numbers(kinds: Sequence[str], count: int) -> tuple[str, ...]:
    """A kind for each of the `count` numbers of an action; none where none is said.

    Args:
        kinds: in the numbers' order, rotation_6d standing for six of them; one alone is that of all.

    Raises:
        UserError: where there is no such kind, or they are of another number of numbers.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f"action_kind must be of {', '.join(KINDS)}, got {kind!r}")
    widths = [ROTATION if kind == "rotation_6d" else 1 for kind in kinds]
    if len(kinds) == 1 and count % widths[0] == 0:
        return tuple(kinds) * count
    if kinds and sum(widths) != count:
        raise UserError(
            f"action_kind must be one kind, or one for each of the action's {count} numbers, rotation_6d standing for "
            f"{ROTATION}; got {len(kinds)} kinds of {sum(widths)} numbers"
        )
    return tuple(kind for kind, width in zip(kinds, widths, strict=True) for _ in range(width))


def check_kinds(kinds: Sequence[str], count: int) -> None:
    """Raise a UserError unless these are kinds of `count` numbers, a kind each."""
    if len(kinds) != count or not set(kinds) <= set(KINDS) or kinds.count("rotation_6d") % ROTATION:
        raise UserError(
            f"action_kinds must be {count} of {', '.join(KINDS)}, a kind for each number of the action and rotation_6d "
            f"{ROTATION} times, got {list(kinds)}"
        )


def check_measured(measured: Sequence[int | None], count: int, proprio_dim: int) -> None:
    """Raise a UserError unless these say, of `count` numbers, which of the robot's state measures each, or None."""
    if len(measured) != count or not all(one is None or 0 <= one < proprio_dim for one in measured):
        raise UserError(
            f"action_measured must be {count} numbers of the robot's state, from 0 to {proprio_dim - 1}, or null, got "
            f"{list(measured)}"
        )


def kept_by(kinds: Sequence[str], low: Sequence[float], high: Sequence[float]) -> list[Projection]:
    """What plans within bounds are moved to: one of a gripper's two values, rotations.

    Args:
        kinds: of each number, as kinds_of_numbers() gives them.
    """
    grippers = [number for number, kind in enumerate(kinds) if kind == "gripper"]
    rotations = [number for number, kind in enumerate(kinds) if kind == "rotation_6d"]
    found: list[Projection] = []
    if rotations:
        found.append(Rotations(tuple(rotations[::ROTATION])))
    if grippers:
        found.append(TwoValues(tuple(grippers), *(tuple(bound[one] for one in grippers) for bound in (low, high))))
    return found


@dataclass(frozen=True)
class TwoValues:
    """Moves numbers to the nearer of two values.

    Attributes:
        dims: the numbers of a robot step's action.
        low, high: the values of each.
    """

    dims: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def project(self, actions: Tensor, action_dim: int) -> Tensor:
        """Candidates (B, S, H, A) with the numbers at one of their values; gradients go through as if it were not."""
        steps = actions.unflatten(-1, (-1, action_dim)).clone()  # (B, S, H, robot steps, action_dim)
        chosen = steps[..., list(self.dims)]
        low, high = chosen.new_tensor(self.low), chosen.new_tensor(self.high)
        nearest = torch.where(2 * chosen > low + high, high, low)
        steps[..., list(self.dims)] = nearest + (chosen - chosen.detach())
        return steps.flatten(-2)


@dataclass(frozen=True)
class Rotations:
    """Moves six numbers to the first two columns of a rotation matrix, by Gram and Schmidt.

    Attributes:
        dims: the first number of each rotation in a robot step's action.
    """

    dims: tuple[int, ...]

    def project(self, actions: Tensor, action_dim: int) -> Tensor:
        """Candidates (B, S, H, A) whose rotations are rotations."""
        steps = actions.unflatten(-1, (-1, action_dim)).clone()  # (B, S, H, robot steps, action_dim)
        for first in self.dims:
            columns = orthonormal(steps[..., first : first + 3], steps[..., first + 3 : first + ROTATION])
            steps[..., first : first + ROTATION] = torch.cat(columns, -1)
        return steps.flatten(-2)


def orthonormal(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors (..., 3) as the first two columns of a rotation; where they have no direction, some other is taken."""
    axes = torch.eye(3, dtype=first.dtype, device=first.device)
    one = unit(first, axes[0].expand_as(first))
    another = axes[one.detach().abs().argmin(-1)]  # the axis that is least along it
    other = unit(second - (one * second).sum(-1, keepdim=True) * one, another)
    return one, unit(other - (one * other).sum(-1, keepdim=True) * one, other)


def unit(vectors: Tensor, otherwise: Tensor) -> Tensor:
    """Vectors (..., 3) of length 1; `otherwise` in place of those that are shorter than SMALLEST."""
    length = vectors.norm(dim=-1, keepdim=True)
    return torch.where(length > SMALLEST, vectors / length.clamp(min=SMALLEST), otherwise)
