"""The best candidates of an iteration, and the best of a whole search."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from wmplan import device


class Best(NamedTuple):
    """The best candidate of each environment: one that keeps the hard constraints before one that does not.

    Attributes:
        points: (B, D).
        costs: (B,), +inf where no cost was finite.
        violation: by how much the hard constraints are broken, (B,); None without any.
    """

    points: Tensor
    costs: Tensor
    violation: Tensor | None

    def or_better(self, other: Best) -> Best:
        """The better of the two in each environment, this one where they are level."""
        better, violation = other.costs < self.costs, self.violation
        if other.violation is not None and violation is not None:
            lower = (other.violation < violation) | ((other.violation == violation) & better)
            finite = torch.isfinite(other.costs)
            better = finite & lower | finite & torch.isinf(self.costs)
        return self._replaced(better, other)

    def or_finite(self, other: Best) -> Best:
        """The other one wherever its cost is finite."""
        return self._replaced(torch.isfinite(other.costs), other)

    def _replaced(self, where: Tensor, other: Best) -> Best:
        violation = self.violation
        if violation is not None and other.violation is not None:
            violation = torch.where(where, other.violation, violation)
        points = torch.where(where[:, None], other.points, self.points)
        return Best(points, torch.where(where, other.costs, self.costs), violation)


@dataclass(frozen=True)
class Elites:
    """The best E candidates of an iteration, best first.

    Attributes:
        points: (B, E, D).
        costs: (B, E), +inf where the cost is not finite.
        keys: what they are ranked by, (B, E), ascending: the costs, but any that breaks a hard constraint is above all
            that keep them; +inf where a candidate counts for nothing.
        violation: by how much the hard constraints are broken, (B, E); None without any.
    """

    points: Tensor
    costs: Tensor
    keys: Tensor
    violation: Tensor | None

    @cached_property
    def all_count(self) -> bool:
        """Whether every one of them is known to have a finite key, as they usually have; on a GPU nobody asks."""
        return device.is_read_at_once(self.keys) and math.isfinite(self.keys[:, -1].amax().item())  # they ascend

    @property
    def best(self) -> Best:
        """The first of them."""
        violation = None if self.violation is None else self.violation[:, 0]
        return Best(self.points[:, 0], self.costs[:, 0], violation)


@dataclass(frozen=True)
class Slopes(Elites):
    """Elites, with the gradient of the cost at every candidate.

    Attributes:
        candidates: all points that were scored, (B, S, D).
        leader: index of the best of these, (B,); 0 where one kept from before is better.
        gradient: of the cost at them, (B, S, D), 0 where it is not finite; where a candidate breaks a hard constraint,
            of the violation.
    """

    candidates: Tensor
    leader: Tensor
    gradient: Tensor
