"""Gradient descent through the rollout, from several starts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from wmplan.planning.config import PlannerConfig
from wmplan.planning.noise import coloured_noise
from wmplan.planning.planner import Planner, Search
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


class Adam:
    """Adam (Kingma and Ba, 2015) on points measured in halves of the action range, projected into the box.

    Its steps do not depend on the scale of the cost: the moments are kept in float64, where no square of a slope
    overflows or vanishes.
    """

    def __init__(self, learning_rate: float, iterations: int) -> None:
        self.learning_rate, self.iterations, self.count = learning_rate, iterations, 0
        self.first: Tensor | float = 0.0
        self.second: Tensor | float = 0.0

    def step(self, points: Tensor, gradient: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """The points (B, S, D) one step later."""
        half = (high - low) / 2
        wide = torch.float32 if points.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        slope = gradient.to(wide) * half
        self.first = 0.9 * self.first + 0.1 * slope
        self.second = 0.99 * self.second + 0.01 * slope.square()
        self.count += 1
        fall = 0.5 + 0.5 * math.cos(math.pi * min(1.0, self.count / self.iterations))
        rate = self.learning_rate * (0.01 + 0.99 * fall) / (1 - 0.9**self.count)
        scale = (self.second / (1 - 0.99**self.count)).sqrt_().add_(torch.finfo(wide).tiny ** 0.5)
        return (points - rate * half * (self.first / scale).to(points.dtype)).clamp_(low, high)


@register_planner("gradient")
class Gradient(Planner):
    """Adam through the cost function, every start on its own, projected into the bounds after each step."""

    config: GradientConfig
    config_class = GradientConfig

    def differentiates(self, iteration: int) -> bool:
        return True

    def begin(self, points: Tensor) -> None:
        """Set out from the points (B, S, D)."""
        self._points, self._adam = points, Adam(self.config.learning_rate, self.config.num_iterations)

    def propose(self, search: Search, iteration: int) -> Tensor:
        if iteration == 0:
            shape = (self.config.num_samples, search.space.num_knots, self.action_dim)
            noise = coloured_noise(search.generators, *shape, self.config.noise_beta, self.device)
            points = torch.addcmul(search.mean[:, None], noise, search.std[:, None])
            points[:, 0] = search.mean
            self.begin(points.clamp_(search.low, search.high))
        return self._points

    def update(self, search: Search, iteration: int) -> None:
        assert search.gradient is not None and search.elites is not None
        best = (search.points == search.elites[:, :1]).all(2).to(torch.uint8).argmax(1)
        self._points = self._adam.step(search.points, search.gradient, search.low, search.high)
        search.mean = self._points[torch.arange(len(best), device=best.device), best]
