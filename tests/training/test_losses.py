"""The regularisers against their definitions, worked out another way."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate

from wmplan.training.losses import (
    contrastive_prediction,
    effective_rank,
    sigreg,
    update_average,
    variance_covariance,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_sigreg_of_one_dimension_is_the_epps_pulley_integral() -> None:
    values = np.random.default_rng(0).normal(0.4, 1.3, size=40)

    def integrand(t: float) -> float:
        error = np.exp(1j * t * values).mean() - math.exp(-0.5 * t * t)
        return abs(error) ** 2 * math.exp(-0.5 * t * t)

    expected = 40 * integrate.quad(integrand, -3, 3)[0]
    # In one dimension every direction is +1 or -1, and the statistic is the same for both.
    given = sigreg(torch.tensor(values)[:, None], generator(), num_knots=201).item()
    assert given == pytest.approx(expected, rel=1e-3)


def test_sigreg_tells_a_normal_cloud_from_others() -> None:
    normal = torch.randn(512, 8, generator=generator(1))
    of_normal = sigreg(normal, generator()).item()
    assert of_normal < 0.2 * sigreg(3 * normal, generator()).item()
    assert of_normal < 0.2 * sigreg(torch.zeros(512, 8), generator()).item()
    assert of_normal < 0.2 * sigreg(normal + 1.0, generator()).item()


def test_contrastive_prediction_is_the_cross_entropy_of_the_distances() -> None:
    predicted, targets = torch.randn(2, 12, 5, generator=generator(4), dtype=torch.double)
    expected = 0.0
    for row in range(12):
        closeness = [math.exp(-float((predicted[row] - targets[other]).square().sum())) for other in range(12)]
        expected -= math.log(closeness[row] / sum(closeness)) / 12
    assert contrastive_prediction(predicted, targets).item() == pytest.approx(expected, rel=1e-9)


def test_contrastive_prediction_asks_that_all_be_told_apart() -> None:
    spread = 5 * torch.randn(64, 8, generator=generator(5))
    assert contrastive_prediction(spread, spread).item() < 1e-3
    together = spread.clone()
    together[:32] = spread[:1]  # half of them coincide, as poses do in a corner: each is one of 32
    assert contrastive_prediction(together, together).item() == pytest.approx(math.log(32) / 2, rel=1e-3)


def test_variance_and_covariance_equal_numpy() -> None:
    latents = torch.randn(100, 5, generator=generator(2)) @ torch.randn(5, 5, generator=generator(3))
    latents[:, 0] *= 0.1
    covariance = np.cov(latents.numpy().T)
    hinge, off = variance_covariance(latents)
    assert hinge.item() == pytest.approx(np.maximum(0, 1 - np.sqrt(np.diag(covariance) + 1e-4)).mean(), rel=1e-4)
    assert off.item() == pytest.approx((covariance**2).sum() / 5 - (np.diag(covariance) ** 2).sum() / 5, rel=1e-4)


def test_a_single_latent_has_no_variance_and_no_covariance() -> None:
    hinge, off = variance_covariance(torch.randn(1, 5, generator=generator(2)))
    assert hinge.item() == pytest.approx(1 - 1e-4**0.5) and off.item() == 0.0


@pytest.mark.parametrize("used", [1, 3, 8])
def test_effective_rank_counts_the_directions_in_use(used: int) -> None:
    basis = torch.linalg.qr(torch.randn(8, 8, generator=generator(4)))[0][:used]
    latents = torch.linalg.qr(torch.randn(4000, used, generator=generator(5)))[0] @ basis
    assert effective_rank(latents) == pytest.approx(used, rel=0.02)


def test_effective_rank_of_a_point_is_zero() -> None:
    assert effective_rank(torch.ones(10, 4)) == 0.0


def test_the_average_follows_its_module_geometrically() -> None:
    average, module = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    start, goal = average.weight.clone(), module.weight.clone()
    for _ in range(3):
        update_average(average, module, 0.9)
    torch.testing.assert_close(average.weight, goal + 0.9**3 * (start - goal))
