"""Model predictive path integral control."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from wmplan.planning.base import Search
from wmplan.planning.config import SamplerConfig
from wmplan.planning.sampler import Sampler


@dataclass(frozen=True)
class MPPIConfig(SamplerConfig):
    """Settings of MPPI.

    Attributes:
        num_elites: best candidates that are weighed, as TD-MPC2 does; 0 weighs all.
        temperature: divides: weights are exp(-(cost - lowest) / temperature). TD-MPC2 and jepa-wms multiply instead:
            their 0.5 is 2.0 here.
        standardise: measure costs in their standard deviation over the weighed candidates first, so that the
            temperature does not depend on the scale of the cost.
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
        self.check("num_elites", 0, self.num_samples)
        self.check("temperature", 1e-9, math.inf)


def path_weights(costs: Tensor, temperature: float, standardise: bool) -> Tensor:
    """Weights (B, S), which sum to 1, of candidates with costs (B, S); 0 where a cost is not finite.

    Williams et al. (2017), equation 34: exp(-(c - c_min) / temperature), normalised. Where no cost is finite all
    weights are 0.
    """
    # None, where one sum says that all are, spares some operations; the numbers are the same.
    finite = None if math.isfinite(float(costs.sum())) else torch.isfinite(costs)

    def only_finite(values: Tensor, otherwise: float = 0.0) -> Tensor:
        return values if finite is None else torch.where(finite, values, otherwise)

    excess = only_finite(costs - only_finite(costs, torch.inf).amin(1, keepdim=True))
    if standardise:
        count = costs.shape[1] if finite is None else finite.sum(1, keepdim=True).clamp(min=1)
        # Measured in the largest first: squares of costs that are very large or small would leave the float's range.
        excess = excess / excess.amax(1, keepdim=True).clamp(min=torch.finfo(costs.dtype).tiny)
        centred = only_finite(excess - excess.sum(1, keepdim=True) / count)
        scale = (centred.square().sum(1, keepdim=True) / count).sqrt()
        excess = excess / scale.clamp(min=torch.finfo(costs.dtype).eps)
    return only_finite(torch.softmax(only_finite(excess / -temperature, -torch.inf), 1))


class MPPI(Sampler):
    """The mean of all candidates weighed by the exponential of their costs (Williams et al., 2017)."""

    config: MPPIConfig
    config_class = MPPIConfig

    def num_elites(self, samples: int, iteration: int) -> int:
        return self.config.num_elites or samples

    def update(self, search: Search, iteration: int) -> Tensor:
        assert search.elites is not None and search.elite_keys is not None
        weights = path_weights(search.elite_keys, self.config.temperature, self.config.standardise)
        # Products and sums, not a matrix product, whose rounding would depend on the batch.
        mean = (weights[..., None] * search.elites).sum(1)  # (B, D)
        std = search.std
        if self.config.adapt_std:
            std = (weights[..., None] * (search.elites - mean[:, None]).square_()).sum(1).sqrt_()
        self.move(search, mean, std)
        some = torch.isfinite(search.elite_keys[:, 0])
        return some / weights.square().sum(1).clamp_(min=torch.finfo(weights.dtype).tiny)
