"""What a search works in and with: the space of points, and the distribution over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wmplan.planning.config import PlannerConfig
from wmplan.planning.noise import coloured_noise
from wmplan.planning.parameterization import Parameterization
from wmplan.planning.warm_start import WarmStart, fit_horizon


@dataclass(frozen=True)
class Box:
    """The points of plans of one length: D numbers each, within bounds, which stand for a sequence of actions.

    Attributes:
        parameterization: the linear map from points to actions.
        low, high: bounds of a point, (D,).
        half: half the range between them, (D,).
    """

    parameterization: Parameterization
    low: Tensor
    high: Tensor
    half: Tensor

    @classmethod
    def of_plans(
        cls, config: PlannerConfig, low: Tensor, high: Tensor, action_dim: int, horizon: int, clock: int
    ) -> Box:
        """That of plans of `horizon` model steps.

        Args:
            config: says what is searched.
            low, high: bounds of one model step's action, (A,).
            action_dim: numbers in a robot step's action.
            clock: robot steps of absolute time at which the plans start.
        """
        kind, block = config.parameterization, len(low) // action_dim
        space = Parameterization(kind, horizon, block, action_dim, config.knot_spacing, clock, low.device)
        if space.free:
            low, high = low.repeat(horizon), high.repeat(horizon)
        else:
            low, high = (bound[:action_dim].repeat(space.num_knots) for bound in (low, high))
        return cls(space, low, high, (high - low) / 2)

    def points(self, actions: Tensor) -> Tensor:
        """The points (..., D) nearest to actions (..., H, A) within the box."""
        return self.parameterization.points(actions).clamp(self.low, self.high)

    def clamp_(self, points: Tensor) -> Tensor:
        """The points (..., D) within the box, in their own memory."""
        return points.clamp_(self.low, self.high)


@dataclass(frozen=True)
class SearchSpace(Box):
    """What one search works in.

    Attributes:
        generators: random numbers of each of the B environments, which depend on nothing else.
        first: points to try in the first iteration, the best of the plan before, (B, E, D); E may be 0.
        is_cold: whether there is no plan before.
    """

    generators: Sequence[torch.Generator]
    first: Tensor
    is_cold: bool

    def noise(self, samples: int, beta: float = 0.0) -> Tensor:
        """Gaussian noise of deviation 1 with spectrum 1 / f^beta along a plan, (B, samples, D)."""
        space = self.parameterization
        return coloured_noise(self.generators, samples, space.num_knots, space.action_dim, beta, self.low.device)


@dataclass(frozen=True)
class Distribution:
    """A Gaussian over points whose numbers are independent: what is known, between iterations, of where to search.

    A planner that has to know more extends it, as gradient.Descent does.

    Attributes:
        mean: the nominal plan, (B, D).
        std: (B, D).
        sample_size: how many candidates it was fitted to in effect, (B,), or one number for all environments.
    """

    mean: Tensor
    std: Tensor
    sample_size: Tensor | float = 1.0


def stacked_sizes(sizes: Sequence[Tensor | float], mean: Tensor) -> Tensor:
    """Sample sizes of all iterations, (iterations, B), of distributions like the one of that mean (B, D)."""
    batch, numbers = len(mean), [size for size in sizes if not isinstance(size, Tensor)]
    if len(numbers) == len(sizes):
        return mean.new_tensor(numbers)[:, None].repeat(1, batch)
    return torch.stack([size if isinstance(size, Tensor) else mean.new_full((batch,), size) for size in sizes])


def begin_search(
    box: Box, nominal: Tensor, init_std: float, warm: WarmStart, generators: Sequence[torch.Generator]
) -> tuple[SearchSpace, Distribution]:
    """The space of one search, and the Gaussian that it sets out from.

    Args:
        box: of the plans that are searched.
        nominal: the plans at its middle, (B, H, A).
        init_std: its deviation as a part of half the range.
        warm: what the search before left, as it stands now.
        generators: one for each environment.
    """
    mean = box.points(nominal)  # (B, D)
    first = mean[:, None][:, :0]  # (B, 0, D)
    if warm.elites is not None and len(warm.elites) == len(mean):
        first = box.points(fit_horizon(warm.elites, nominal.shape[1], box.parameterization.action_dim))
    is_cold = warm.actions is None or len(warm.actions) != len(mean)
    space = SearchSpace(box.parameterization, box.low, box.high, box.half, generators, first, is_cold)
    return space, Distribution(mean, (init_std * box.half).expand_as(mean))
