"""A sampler whose best plans are refined by gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wmplan.planning.elites import Elites, Slopes
from wmplan.planning.gradient import Descent, Gradient, GradientConfig
from wmplan.planning.icem import ICEM, ICEMConfig
from wmplan.planning.search_state import Distribution, SearchSpace
from wmplan.registry import register_planner


@dataclass(frozen=True)
class HybridConfig(ICEMConfig):
    """Settings of the hybrid: iCEM's, and of the refinement.

    Attributes:
        num_refined: best plans of the sampler that are refined.
        refine_iterations: gradient steps.
        learning_rate: first step as a fraction of half the action range.
    """

    num_refined: int = 4
    refine_iterations: int = 10
    learning_rate: float = 0.03

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_share("num_refined", 1, "num_elites")
        self.check("refine_iterations", 1, 10**6)
        self.check("learning_rate", 0.0, 1e6)


@register_planner("hybrid")
class Hybrid(ICEM):
    """iCEM finds the valley, Adam through the rollout goes down to its floor."""

    config: HybridConfig
    config_class = HybridConfig

    def __init__(
        self,
        config: HybridConfig,
        low: Tensor | Sequence[float],
        high: Tensor | Sequence[float],
        *,
        action_block: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(config, low, high, action_block=action_block, device=device)
        settings = GradientConfig(
            num_samples=config.num_refined, num_iterations=config.refine_iterations, learning_rate=config.learning_rate
        )
        self._gradient = Gradient(settings, low, high, action_block=action_block, device=device)

    @property
    def num_iterations(self) -> int:
        return self.config.num_iterations + self.config.refine_iterations

    def differentiates(self, iteration: int) -> bool:
        return iteration >= self.config.num_iterations

    def propose(self, state: Distribution, space: SearchSpace, iteration: int) -> Tensor:
        """Points (B, S, D): the sampler's draws, then where the descent is."""
        return state.points if isinstance(state, Descent) else super().propose(state, space, iteration)

    def update(self, state: Distribution, elites: Elites, space: SearchSpace, iteration: int) -> Distribution:
        """The sampler's Gaussian; after its last iteration a descent from the best elites (B, E, D)."""
        if isinstance(elites, Slopes):
            return self._gradient.update(state, elites, space, iteration)
        sampled = super().update(state, elites, space, iteration)
        if not self.differentiates(iteration + 1):
            return sampled
        starts = elites.points[:, : self.config.num_refined]
        return Descent(**vars(sampled), points=starts, adam=self._gradient.begin())
