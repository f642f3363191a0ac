"""What every objective is: a cost of predicted latents against the goal's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

ObjectiveFunction = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From predicted latents (B, S, H, *latent), goals (B, *latent) and candidates (B, S, H, A) to costs (B, S)."""


class Objective(ABC):
    """Scores what candidates are predicted to lead to; lower is better."""

    @property
    def last_only(self) -> bool:
        """Whether only the last predicted latent is read; then `predicted` may hold only that, H being 1."""
        return False

    @property
    def at_executed(self) -> Objective | None:
        """What is added for the latents that the executed prefix leads to, None for nothing.

        The prefix is what a robot executes before its next plan. The objective is given the latents there alone, H
        being 1, and its costs are added to those of the whole candidates; see LatentCost.
        """
        return None

    def for_start(self, current: Tensor, goal: Tensor) -> Objective:
        """The objective of one plan, which may depend on where the robots are and head for, (B, *latent) each."""
        return self

    @abstractmethod
    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        """Costs (B, S).

        Args:
            predicted: latents after each model step, (B, S, H, *latent).
            goal: latents to reach, (B, *latent).
            actions: the candidates that lead to them, (B, S, H, A).
        """


@dataclass(frozen=True)
class FunctionObjective(Objective):
    """A plain function, or any object that is called as one, as an Objective.

    It may have `last_only`, `at_executed` and `for_start`.
    """

    function: ObjectiveFunction

    @property
    def last_only(self) -> bool:
        return bool(getattr(self.function, "last_only", False))

    @property
    def at_executed(self) -> Objective | None:
        own: Any = getattr(self.function, "at_executed", None)
        return None if own is None else as_objective(own)

    def for_start(self, current: Tensor, goal: Tensor) -> Objective:
        begin: Any = getattr(self.function, "for_start", None)
        return self if begin is None else as_objective(begin(current, goal))

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        return self.function(predicted, goal, actions)


def as_objective(objective: Objective | ObjectiveFunction) -> Objective:
    """The same as an Objective."""
    return objective if isinstance(objective, Objective) else FunctionObjective(objective)
