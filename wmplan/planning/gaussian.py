"""What the planners share that keep a Gaussian over plans: drawing candidates, and the moments of the elites."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wmplan.planning.config import SamplerConfig
from wmplan.planning.noise import coloured_noise
from wmplan.planning.planner import Planner, Search


def elite_moments(elites: Tensor, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and deviation (B, D) of the elites (B, E, D) with finite keys (B, E), ascending, and their number (B,).

    The deviation divides by one less than the number, and is 0 for a single elite.
    """
    std, mean = torch.std_mean(elites, dim=1, correction=min(1, elites.shape[1] - 1))
    count = mean.new_full((len(keys),), elites.shape[1])
    if math.isfinite(float(keys[:, -1].amax())):  # all of them, as they ascend
        return mean, std, count
    finite = torch.isfinite(keys)
    whole, count = finite[:, -1:], finite.sum(1).to(elites.dtype)
    weight = finite[..., None].to(elites.dtype)
    some_mean = (weight * elites).sum(1) / count.clamp(min=1)[:, None]
    square = (weight * (elites - some_mean[:, None]) ** 2).sum(1)
    some_std = (square / (count - 1).clamp(min=1)[:, None]).sqrt()
    # To the bit what an environment whose elites are all finite would get without the others.
    return torch.where(whole, mean, some_mean), torch.where(whole, std, some_std), count


class Sampler(Planner):
    """Draws candidates around search.mean with deviation search.std, clips them, and puts the mean first."""

    config: SamplerConfig
    config_class = SamplerConfig

    def population(self, iteration: int) -> int:
        """Candidates in this iteration."""
        return self.config.num_samples

    def propose(self, search: Search, iteration: int) -> Tensor:
        samples = self.population(iteration)
        noise = coloured_noise(
            search.generators, samples, search.space.num_knots, self.action_dim, self.config.noise_beta, self.device
        )
        points = torch.addcmul(search.mean[:, None], noise, search.std[:, None], out=noise)
        points[:, 0] = search.mean
        if iteration == 0 and search.extra is not None:
            room = min(search.extra.shape[1], samples - 1)
            points[:, 1 : 1 + room] = search.extra[:, :room]
        return points.clamp_(search.low, search.high)

    def move(self, search: Search, mean: Tensor, std: Tensor, momentum: float = 0.0) -> None:
        """Move the Gaussian there, deviation floored, in environments with any finite candidate."""
        assert search.elite_keys is not None
        std = torch.clamp(std, min=self.config.min_std * search.half)
        if momentum:
            mean, std = torch.lerp(mean, search.mean, momentum), torch.lerp(std, search.std, momentum)
        best = search.elite_keys[:, :1]
        if not math.isfinite(float(best.amax())):
            some = torch.isfinite(best)
            mean, std = torch.where(some, mean, search.mean), torch.where(some, std, search.std)
        search.mean, search.std = mean.clamp(search.low, search.high), std
