"""Gaussian noise with a power-law spectrum along the plan, drawn from one generator for each environment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

CPU = torch.device("cpu")


@lru_cache(maxsize=64)
def colouring_matrix(length: int, dim: int, beta: float, device: torch.device = CPU) -> Tensor:
    """The linear map from white noise to coloured, of shape (dim * length, length * dim), dimension by dimension.

    Coloured noise after Timmer and Koenig (1995), as iCEM draws it (Pinneri et al., 2020, section 3.1), is an
    inverse FFT of Gaussian coefficients scaled by f^(-beta / 2), the constant part as strong as the lowest
    frequency. That is linear in the coefficients, so for the short lengths of plans one matrix product does
    it for all candidates. Every entry of the noise has deviation 1.
    """
    frequency = np.fft.rfftfreq(length)
    frequency[0] = frequency[1]
    scale = frequency ** (-beta / 2)
    columns = []
    for index, amplitude in enumerate(scale):
        single = index == 0 or (length % 2 == 0 and index == len(scale) - 1)  # no sine at 0 and at Nyquist
        for phase in (1.0,) if single else (1.0, 1.0j):
            coefficients = np.zeros(len(scale), dtype=complex)
            coefficients[index] = amplitude * phase * (math.sqrt(2.0) if single else 1.0)
            columns.append(np.fft.irfft(coefficients, length))
    rows = np.stack(columns)  # (coefficients, length)
    rows /= np.sqrt((rows**2).sum(axis=0).mean())
    # From dimensions of coefficients to steps of dimensions: what transposing would do, in the same product.
    matrix = np.einsum("ct,de->dcte", rows, np.eye(dim)).reshape(dim * length, length * dim)
    return torch.from_numpy(matrix).float().to(device)


def coloured_noise(
    generators: Sequence[torch.Generator], samples: int, length: int, dim: int, beta: float, device: torch.device
) -> Tensor:
    """Noise of deviation 1 with spectrum 1 / f^beta along `length`, of shape (B, samples, length * dim).

    Each generator gives one environment's noise, so that it is the same in any batch.
    """
    matrix = colouring_matrix(length, dim, beta, device) if beta > 0.0 and length > 1 else None

    def draw(generator: torch.Generator) -> Tensor:
        white = torch.randn(samples, length * dim, generator=generator, device=device)
        return white if matrix is None else white @ matrix

    # A product for each environment: one for all would round differently for another number of them.
    noise = [draw(generator) for generator in generators]
    return noise[0][None] if len(noise) == 1 else torch.stack(noise)
