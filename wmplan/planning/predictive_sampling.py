"""Predictive sampling: the simplest planner, and often enough."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wmplan.planning.config import SamplerConfig
from wmplan.planning.elites import Elites
from wmplan.planning.gaussian import Sampler
from wmplan.planning.search_state import Distribution, SearchSpace
from wmplan.registry import register_planner


@dataclass(frozen=True)
class PredictiveSamplingConfig(SamplerConfig):
    """Settings of predictive sampling.

    Attributes:
        std_decay: the deviation is multiplied by it each iteration, down to min_std.
    """

    num_samples: int = 100
    num_iterations: int = 3
    init_std: float = 0.5
    final_mean: bool = False  # the mean is the best candidate, which was judged
    std_decay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("std_decay", 0.0, 1.0)


@register_planner("predictive_sampling")
class PredictiveSampling(Sampler):
    """Candidates around the best so far, which the best of them replaces (Howell et al., 2022)."""

    config: PredictiveSamplingConfig
    config_class = PredictiveSamplingConfig

    def num_kept(self) -> int:
        return 1

    def update(self, state: Distribution, elites: Elites, space: SearchSpace, iteration: int) -> Distribution:
        """The best so far (B, D), which is the first of the elites (B, E, D), and a smaller deviation."""
        count = 1.0 if elites.all_count else torch.isfinite(elites.keys[:, 0]).to(state.std.dtype)
        best = Distribution(elites.points[:, 0], self.config.std_decay * state.std, count)
        return self.moved(state, best, elites, space)
