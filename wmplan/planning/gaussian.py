"""What the planners share that keep a Gaussian over plans: drawing candidates, and the moments of the elites."""

from __future__ import annotations

import torch
from torch import Tensor

from wmplan.planning.config import SamplerConfig
from wmplan.planning.elites import Elites
from wmplan.planning.planner import Planner
from wmplan.planning.search_state import Distribution, SearchSpace


def elite_moments(elites: Elites) -> Distribution:
    """Mean and deviation (B, D) of the elites with finite keys; their number (B,) is the sample size.

    The deviation divides by one less than the number, and is 0 for a single elite.
    """
    points = elites.points
    std, mean = torch.std_mean(points, dim=1, correction=min(1, points.shape[1] - 1))
    if elites.all_count:
        return Distribution(mean, std, float(points.shape[1]))
    finite = torch.isfinite(elites.keys)
    whole, count = finite[:, -1:], finite.sum(1).to(points.dtype)
    weight = finite[..., None].to(points.dtype)
    some_mean = (weight * points).sum(1) / count.clamp(min=1)[:, None]
    square = (weight * (points - some_mean[:, None]) ** 2).sum(1)
    some_std = (square / (count - 1).clamp(min=1)[:, None]).sqrt()
    # To the bit what an environment whose elites are all finite would get without the others.
    return Distribution(torch.where(whole, mean, some_mean), torch.where(whole, std, some_std), count)


class Sampler(Planner[Elites]):
    """Draws candidates from the Gaussian, clips them, and puts its mean first."""

    config: SamplerConfig
    config_class = SamplerConfig

    def population(self, iteration: int) -> int:
        """Candidates in this iteration of a search that starts from the plan before."""
        return self.config.num_samples

    def num_candidates(self, iteration: int, space: SearchSpace) -> int:
        """S."""
        first = self.config.cold_start_samples if space.is_cold else 1
        return max(self.population(iteration), first >> iteration)

    def propose(self, state: Distribution, space: SearchSpace, iteration: int) -> Tensor:
        """Points (B, S, D): the mean, in the first iteration the best of the plan before, and draws."""
        samples = self.num_candidates(iteration, space)
        noise = space.noise(samples, self.config.noise_beta)
        points = torch.addcmul(state.mean[:, None], noise, state.std[:, None], out=noise)  # (B, S, D)
        points[:, 0] = state.mean
        if iteration == 0 and space.first.shape[1]:
            room = min(space.first.shape[1], samples - 1)
            points[:, 1 : 1 + room] = space.first[:, :room]
        return space.clamp_(points)

    def moved(
        self, state: Distribution, fitted: Distribution, elites: Elites, space: SearchSpace, momentum: float = 0.0
    ) -> Distribution:
        """From `state` to the Gaussian that was fitted, its deviation floored and its mean within bounds.

        Environments without any finite candidate stay where they are.

        Args:
            momentum: part of the old mean and deviation that stays.
        """
        mean, std = fitted.mean, torch.clamp(fitted.std, min=self.config.min_std * space.half)
        if momentum:
            mean, std = torch.lerp(mean, state.mean, momentum), torch.lerp(std, state.std, momentum)
        if not elites.all_count:
            some = torch.isfinite(elites.keys[:, :1])
            mean, std = torch.where(some, mean, state.mean), torch.where(some, std, state.std)
        return Distribution(mean.clamp(space.low, space.high), std, fitted.sample_size)
