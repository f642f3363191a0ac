"""Surprise against a model whose errors are known."""

from __future__ import annotations

import pytest
import torch

from wmplan.control.surprise import standardised_error


def test_it_is_about_one_for_errors_of_the_usual_size() -> None:
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([0.1, 1.0, 20.0]).repeat(40)
    errors = scale * torch.randn(200, 120, generator=generator)
    values = standardised_error(errors, scale)
    assert values.shape == (200,) and float(values.mean()) == pytest.approx(1.0, abs=0.02)
    assert float(standardised_error(3 * errors, scale).mean()) == pytest.approx(3.0, abs=0.06)


def test_it_is_the_root_of_the_mean_square_over_all_of_a_latent() -> None:
    error = torch.tensor([[[1.0, 0.0], [0.0, 4.0]]])  # (1, 2, 2): a latent of shape (2, 2)
    scale = torch.tensor([[1.0, 1.0], [1.0, 2.0]])
    assert float(standardised_error(error, scale)) == pytest.approx(((1 + 4) / 4) ** 0.5)


def test_an_entry_without_any_error_on_held_out_data_is_not_divided_by_zero() -> None:
    value = standardised_error(torch.tensor([[1e-3, 0.0]]), torch.tensor([0.0, 1.0]))
    assert torch.isfinite(value).all() and float(value) == pytest.approx(2.0 / 2**0.5)
