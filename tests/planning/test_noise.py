"""Coloured noise has the spectrum and the deviation it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wmplan.planning.noise import coloured_noise

CPU = torch.device("cpu")


def draw(beta: float, length: int, samples: int = 4000, dim: int = 1, seed: int = 0) -> np.ndarray:
    generators = [torch.Generator().manual_seed(seed)]
    return coloured_noise(generators, samples, length, dim, beta, CPU)[0].view(samples, length, dim).numpy()


@pytest.mark.parametrize("length", [64, 65])
@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0, 3.0])
def test_the_spectrum_falls_with_the_stated_slope(beta: float, length: int) -> None:
    power = np.abs(np.fft.rfft(draw(beta, length)[..., 0], axis=1)) ** 2
    frequency = np.fft.rfftfreq(length)
    inner = slice(1, length // 2)  # without the constant and Nyquist
    slope, _ = np.polyfit(np.log(frequency[inner]), np.log(power.mean(0)[inner]), 1)
    assert slope == pytest.approx(-beta, rel=0.1)
    assert power[:, 0].mean() / power[:, 1].mean() == pytest.approx(1.0, rel=0.1)  # the constant is as strong


def test_white_noise_is_flat_and_plain() -> None:
    assert np.array_equal(
        draw(0.0, 6, 5)[..., 0], torch.randn(5, 6, generator=torch.Generator().manual_seed(0)).numpy()
    )


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("length", [1, 2, 5, 25])
def test_every_step_has_deviation_one(beta: float, length: int) -> None:
    np.testing.assert_allclose(draw(beta, length, 20_000).std(0), 1.0, atol=0.03)


def test_noise_is_smooth_along_robot_steps_and_dimensions_are_independent() -> None:
    noise = draw(2.0, 25, dim=3)  # five blocks of five robot steps of three numbers
    neighbours = [np.corrcoef(noise[:, step, 0], noise[:, step + 1, 0])[0, 1] for step in range(24)]
    assert min(neighbours) > 0.8  # inside blocks and across their seams (4-5, 9-10, ...)
    assert max(neighbours) - min(neighbours) < 0.05
    across = np.corrcoef(noise[:, 12].T)
    assert np.abs(across - np.eye(3)).max() < 0.06


def test_environments_have_their_own_noise_in_any_batch() -> None:
    def make(seeds: list[int]) -> torch.Tensor:
        return coloured_noise([torch.Generator().manual_seed(seed) for seed in seeds], 7, 6, 2, 2.0, CPU)

    together = make([0, 1, 2])
    assert not torch.equal(together[0], together[1])
    assert torch.equal(make([1])[0], together[1])
