"""The improved cross-entropy method for few samples in real time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wmplan.planning.config import SamplerConfig
from wmplan.planning.elites import Elites
from wmplan.planning.gaussian import Sampler, elite_moments
from wmplan.planning.search_state import Distribution, SearchSpace
from wmplan.registry import register_planner


@dataclass(frozen=True)
class ICEMConfig(SamplerConfig):
    """Settings of iCEM; the defaults are the real-time preset but for init_std.

    Attributes:
        num_elites: best candidates whose mean and deviation are the next Gaussian.
        keep_fraction: part of the elites that competes in the next iteration, costs remembered, and, shifted by the
            time that passed, among the first candidates of the next plan.
        decay: the number of samples is divided by it each iteration, down to twice num_elites.
        momentum: part of the old mean and deviation that stays.
    """

    num_samples: int = 100
    num_iterations: int = 3
    noise_beta: float = 2.0
    num_elites: int = 10
    keep_fraction: float = 0.3
    decay: float = 1.25
    momentum: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_share("num_elites", 1, "num_samples")
        self.check("keep_fraction", 0.0, 1.0)
        self.check("decay", 1.0, math.inf)
        self.check("momentum", 0.0, 1.0)


@register_planner("icem")
class ICEM(Sampler):
    """CEM with coloured noise, elites kept and shifted, and a decaying population (Pinneri et al., CoRL 2020).

    As there, but for three things: kept elites are not judged twice, since a plan's cost function is the same
    throughout; shifted elites count among the samples; and the last actions are held instead of drawn anew.
    """

    config: ICEMConfig
    config_class = ICEMConfig

    def population(self, iteration: int) -> int:
        decayed = int(self.config.num_samples * self.config.decay**-iteration)
        return max(decayed, min(2 * self.config.num_elites, self.config.num_samples))

    def num_elites(self, samples: int) -> int:
        return self.config.num_elites

    def num_kept(self) -> int:
        return math.ceil(self.config.keep_fraction * self.config.num_elites)

    def update(self, state: Distribution, elites: Elites, space: SearchSpace, iteration: int) -> Distribution:
        """The Gaussian (B, D) of the elites (B, E, D), new and kept, mixed with the one before."""
        return self.moved(state, elite_moments(elites), elites, space, self.config.momentum)
