"""Gradient descent through the rollout, from several starts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from wmplan.planning.config import PlannerConfig
from wmplan.planning.elites import Slopes
from wmplan.planning.planner import Planner
from wmplan.planning.search_state import Box, Distribution, SearchSpace
from wmplan.registry import register_planner


@dataclass(frozen=True)
class GradientConfig(PlannerConfig):
    """Settings of the gradient planner.

    Attributes:
        num_samples: starts: the nominal plan and random ones around it.
        learning_rate: first step as a fraction of half the action range; it falls to a hundredth along a cosine.
        noise_beta: exponent of the spectrum of the starts' noise.
    """

    num_samples: int = 8
    num_iterations: int = 100
    init_std: float = 0.5
    learning_rate: float = 0.1
    noise_beta: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("learning_rate", 0.0, math.inf)
        self.check("noise_beta", 0.0, 10.0)


class Adam(NamedTuple):
    """Adam (Kingma and Ba, 2015) on points measured in halves of the action range, projected into the box.

    Its steps do not depend on the scale of the cost: the moments are kept in float64, where no square of a slope
    overflows or vanishes.

    Attributes:
        learning_rate: first step as a fraction of half the range.
        iterations: until the rate has fallen to a hundredth.
        taken: steps so far.
        first, second: moments of the slopes so far, (B, S, D); 0 before the first step.
    """

    learning_rate: float
    iterations: int
    taken: int = 0
    first: Tensor | float = 0.0
    second: Tensor | float = 0.0

    def step(self, points: Tensor, gradient: Tensor, box: Box) -> tuple[Tensor, Adam]:
        """The points (B, S, D) one step down the gradient (B, S, D) within the box, and Adam after it."""
        half, count = box.half, self.taken + 1
        wide = torch.float32 if points.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        slope = gradient.to(wide) * half
        first = 0.9 * self.first + 0.1 * slope
        second = 0.99 * self.second + 0.01 * slope.square()
        fall = 0.5 + 0.5 * math.cos(math.pi * min(1.0, count / self.iterations))
        rate = self.learning_rate * (0.01 + 0.99 * fall) / (1 - 0.9**count)
        scale = (second / (1 - 0.99**count)).sqrt_().add_(torch.finfo(wide).tiny ** 0.5)
        moved = box.clamp_(points - rate * half * (first / scale).to(points.dtype))
        return moved, Adam(self.learning_rate, self.iterations, count, first, second)


@dataclass(frozen=True, kw_only=True)
class Descent(Distribution):
    """A descent under way; its mean is the best of the starts, one step further.

    Attributes:
        points: where the starts are now, (B, S, D).
        adam: their moments.
    """

    points: Tensor
    adam: Adam


@register_planner("gradient")
class Gradient(Planner[Slopes]):
    """Adam through the cost function, every start on its own, projected into the bounds after each step."""

    config: GradientConfig
    config_class = GradientConfig

    def differentiates(self, iteration: int) -> bool:
        return True

    def propose(self, state: Distribution, space: SearchSpace, iteration: int) -> Tensor:
        """Points (B, S, D): where the starts are; at first the mean and draws around it."""
        if isinstance(state, Descent):
            return state.points
        noise = space.noise(self.config.num_samples, self.config.noise_beta)
        points = torch.addcmul(state.mean[:, None], noise, state.std[:, None])
        points[:, 0] = state.mean
        return space.clamp_(points)

    def update(self, state: Distribution, elites: Slopes, space: SearchSpace, iteration: int) -> Descent:
        """One step of Adam from the candidates (B, S, D) down their gradient (B, S, D)."""
        adam = state.adam if isinstance(state, Descent) else self.begin()
        points, adam = adam.step(elites.candidates, elites.gradient, space)
        mean = points.gather(1, elites.leader[:, None, None].expand(-1, 1, points.shape[2]))[:, 0]
        return Descent(mean, state.std, points=points, adam=adam)

    def begin(self) -> Adam:
        """Adam before its first step."""
        return Adam(self.config.learning_rate, self.config.num_iterations)
