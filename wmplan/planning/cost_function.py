"""The cost that planners minimise: what it has to offer, and what it may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

CostFunction = Callable[[Tensor], Tensor]
"""From candidates, float32 of shape (B, S, H, A), to costs of shape (B, S), of any real type; lower is better."""


class Evaluation(NamedTuple):
    """What a cost says of candidates.

    Attributes:
        costs: (B, S), of any real type; lower is better.
        violation: by how much hard constraints that the cost knows of are broken, (B, S), at most 0 where they are
            kept; None without any.
    """

    costs: Tensor
    violation: Tensor | None = None


@runtime_checkable
class Cost(Protocol):
    """A cost that is more than a function: it knows hard constraints, or is faster where no gradient is read."""

    def evaluate(self, candidates: Tensor, differentiable: bool = False) -> Evaluation:
        """Costs and violations of candidates, float32 of shape (B, S, H, A); it may write into them.

        Args:
            differentiable: whether gradients have to reach the candidates.
        """
        ...


@dataclass(frozen=True)
class FunctionCost:
    """A plain function as a Cost, without constraints; gradients reach candidates if its operations let them."""

    function: CostFunction

    def evaluate(self, candidates: Tensor, differentiable: bool = False) -> Evaluation:
        return Evaluation(self.function(candidates))


def as_cost(cost: Cost | CostFunction) -> Cost:
    """The same as a Cost."""
    return cost if isinstance(cost, Cost) else FunctionCost(cost)
