"""Model predictive path integral control."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from wmplan import device
from wmplan.planning.config import SamplerConfig
from wmplan.planning.elites import Elites
from wmplan.planning.gaussian import Sampler
from wmplan.planning.search_state import Distribution, SearchSpace
from wmplan.registry import register_planner


@dataclass(frozen=True)
class MPPIConfig(SamplerConfig):
    """Settings of MPPI.

    Attributes:
        num_elites: best candidates that are weighed, as TD-MPC2 does; 0 weighs all.
        temperature: divides: weights are exp(-(cost - lowest) / temperature). TD-MPC2 and jepa-wms multiply instead:
            their 0.5 is 2.0 here.
        standardise: measure costs in their standard deviation over the weighed candidates first, so that the
            temperature does not depend on the scale of the cost. Outliers are measured in it, but are no part of it:
            the penalty of a collision, however high and however many collide, must not level the other costs.
        adapt_std: let the deviation follow the weighted candidates', with the floor, as TD-MPC2 does; without, it
            stays as MPPI has it.
    """

    num_samples: int = 512
    num_iterations: int = 6
    num_elites: int = 64
    temperature: float = 0.5
    standardise: bool = True
    adapt_std: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_share("num_elites", 0, "num_samples")
        self.check("temperature", 1e-9, math.inf)


OUTLIER = 10.0  # times as far above the lowest cost as those between are on average
CHANCE = 1e-8  # that costs which are spread without a gap seem to have one


@lru_cache(maxsize=64)
def gap_limits(count: int, dtype: torch.dtype, where: torch.device) -> Tensor:
    """How far above the lowest a cost may be beside p lower ones, in the sum of all these excesses, for p below count.

    Of p costs without a gap the next is t times as far above the lowest as they are on average with a chance of about
    t^-p: among few costs only a far wider gap is none by chance.
    """
    number = torch.arange(count, dtype=torch.float64).clamp(min=1)
    limit = (CHANCE ** (-1 / number)).clamp(min=OUTLIER) / number  # in the sum of the lower ones
    limit[0] = torch.inf
    return (1 / (1 + 1 / limit)).to(where, dtype)


def num_together(costs: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
    """Ascending costs (B, S) of any kind over the lowest, and how many of them lie together, (B, 1).

    They are scaled so that no sum overflows. What lies together ends at the first gap: at a cost that is not finite,
    or is OUTLIER times as far above the lowest as those between are on average. Costs level with the lowest but for
    rounding count as one with it.
    """
    finite, samples = torch.isfinite(costs), costs.shape[1]
    size = torch.where(finite, costs, 0.0).abs().amax(1, keepdim=True)
    costs = costs * torch.where(size > 1, 2.0**-20, 1.0)  # a power of two rounds nothing
    excess = torch.where(finite, costs - costs[:, :1], torch.inf)
    level = (excess <= 4 * torch.finfo(costs.dtype).eps * costs[:, :1].abs()).sum(1, keepdim=True)
    place = torch.arange(samples, device=costs.device)
    between = (place - level).clamp_(min=0)
    is_gap = (excess > limits[between] * excess.cumsum(1)) | ~finite
    return excess, torch.where(is_gap, place, samples).amin(1, keepdim=True)


def ascending_weights(costs: Tensor, temperature: float, standardise: bool) -> Tensor:
    """The weights of path_weights() for costs (B, S) in ascending order, +inf where they are not finite."""
    excess, samples = costs - costs[:, :1], costs.shape[1]
    if not standardise:
        return _finite_alone(costs, torch.softmax(excess.div_(-temperature), 1))
    total, limits = excess.cumsum(1), gap_limits(samples, costs.dtype, costs.device)
    # The usual case: no gap, not all are equal, and no sum has overflowed. On a GPU nobody asks.
    at_hand = device.is_read_at_once(costs)
    if at_hand and bool((excess <= limits * total).all()) and math.isfinite(float(total[:, -1].log().sum())):
        # Measured in the largest first: squares of very large or small costs would leave the float's range.
        excess = excess / excess[:, -1:]
        centred = excess - excess.sum(1, keepdim=True) / samples
        scale = centred.square_().sum(1, keepdim=True).div_(samples).sqrt_()
        return torch.softmax(excess.div_(scale.mul_(-temperature)), 1)
    # The same, to the bit where the case is usual, over those that lie together.
    excess, count = num_together(costs, limits)
    is_in = torch.arange(samples, device=costs.device) < count
    top = excess.gather(1, (count - 1).clamp_(min=0))
    excess = excess / torch.where(top > 0, top, 1.0)
    count = count.clamp_(min=1)
    among = torch.where(is_in, excess, 0.0)
    centred = torch.where(is_in, among - among.sum(1, keepdim=True) / count, 0.0)
    scale = centred.square_().sum(1, keepdim=True).div_(count).sqrt_().clamp_(min=torch.finfo(costs.dtype).eps)
    return _finite_alone(costs, torch.softmax(excess.div_(scale.mul_(-temperature)), 1))


def _finite_alone(costs: Tensor, weights: Tensor) -> Tensor:
    """The weights (B, S), 0 where the cost is not finite; they are nan where none is."""
    return torch.where(torch.isfinite(costs), weights, 0.0)


def path_weights(costs: Tensor, temperature: float, standardise: bool) -> Tensor:
    """Weights (B, S), which sum to 1, of candidates with costs (B, S); 0 where a cost is not finite.

    Williams et al. (2017), equation 34: exp(-(c - c_min) / temperature), normalised; standardise, see MPPIConfig.
    Where no cost is finite all weights are 0.
    """
    ascending, order = torch.where(torch.isfinite(costs), costs, torch.inf).sort(dim=1)
    return torch.empty_like(ascending).scatter_(1, order, ascending_weights(ascending, temperature, standardise))


@register_planner("mppi")
class MPPI(Sampler):
    """The mean of all candidates weighed by the exponential of their costs (Williams et al., 2017)."""

    config: MPPIConfig
    config_class = MPPIConfig

    def num_elites(self, samples: int) -> int:
        return self.config.num_elites or samples

    def update(self, state: Distribution, elites: Elites, space: SearchSpace, iteration: int) -> Distribution:
        """The mean and deviation (B, D) of the elites (B, E, D), each weighed by its cost's exponential."""
        weights = ascending_weights(elites.keys, self.config.temperature, self.config.standardise)
        weights = weights.to(elites.points.dtype)  # (B, E)
        # Products and sums, not a matrix product, whose rounding would depend on the batch.
        mean = (weights[..., None] * elites.points).sum(1)  # (B, D)
        std = state.std
        if self.config.adapt_std:
            std = (weights[..., None] * (elites.points - mean[:, None]).square_()).sum(1).sqrt_()
        some = torch.isfinite(elites.keys[:, 0])  # (B,)
        size = some / weights.square().sum(1).clamp_(min=torch.finfo(weights.dtype).tiny)
        return self.moved(state, Distribution(mean, std, size), elites, space)
