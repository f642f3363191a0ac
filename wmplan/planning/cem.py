"""The cross-entropy method."""

from __future__ import annotations

from dataclasses import dataclass

from wmplan.planning.config import SamplerConfig
from wmplan.planning.elites import Elites
from wmplan.planning.gaussian import Sampler, elite_moments
from wmplan.planning.search_state import Distribution, SearchSpace
from wmplan.registry import register_planner


@dataclass(frozen=True)
class CEMConfig(SamplerConfig):
    """Settings of CEM; the defaults are the research preset of the field, 300 x 30 x 30.

    Attributes:
        num_elites: best candidates whose mean and deviation are the next Gaussian.
        carry_best: let the best candidate so far compete in every later iteration, its cost remembered.
    """

    num_elites: int = 30
    carry_best: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_share("num_elites", 1, "num_samples")


@register_planner("cem")
class CEM(Sampler):
    """Fits a Gaussian to the best candidates, again and again (Rubinstein and Kroese, 2004)."""

    config: CEMConfig
    config_class = CEMConfig

    def num_elites(self, samples: int) -> int:
        return self.config.num_elites

    def num_kept(self) -> int:
        return int(self.config.carry_best)

    def update(self, state: Distribution, elites: Elites, space: SearchSpace, iteration: int) -> Distribution:
        """The Gaussian (B, D) of the elites (B, E, D) that have a finite cost."""
        return self.moved(state, elite_moments(elites), elites, space)
