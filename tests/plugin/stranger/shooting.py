"""Random shooting around the best so far."""

from dataclasses import dataclass, replace

import wmplan
from wmplan.planning import Planner
from wmplan.planning.config import PlannerConfig


@dataclass(frozen=True)
class ShootingConfig(PlannerConfig):
    """Settings of random shooting.

    Attributes:
        spread: deviation of the candidates, in halves of the action range.
    """

    num_samples: int = 20
    num_iterations: int = 2
    spread: float = 0.5


@wmplan.register_planner("shooting")
class Shooting(Planner):
    config: ShootingConfig
    config_class = ShootingConfig

    def propose(self, state, space, iteration):
        points = state.mean[:, None] + self.config.spread * space.half * space.noise(self.config.num_samples)
        points[:, 0] = state.mean
        return space.clamp_(points)  # (B, S, D)

    def update(self, state, elites, space, iteration):
        return replace(state, mean=elites.points[:, 0])
