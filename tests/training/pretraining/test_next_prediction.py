"""The objective `next`: what each of its two parts moves."""

from __future__ import annotations

import numpy as np
import torch

from wmplan.models.next_tokens import NextErrors
from wmplan.models.video_jepa import ClipSpec, VideoJEPA, ViTConfig
from wmplan.training.pretraining.next_prediction import EXPECTATION_SHARE, NextPrediction

SIZES = ViTConfig(patch=8, tubelet=2, width=24, depth=2, heads=2)


def test_colours_learn_from_the_squared_error_alone() -> None:
    torch.manual_seed(0)
    model = VideoJEPA(ClipSpec((16, 16), 8), SIZES, target=False, causal=True)
    clips = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 8, 16, 16, 3), dtype=np.uint8))
    objective = NextPrediction(model)
    loss, figures = objective.loss({"pixels": clips}, torch.Generator())
    assert np.isclose(loss.item(), figures["prediction"] + EXPECTATION_SHARE * figures["expectation"])
    loss.backward()
    errors = model.next_errors(clips)
    weight = model.predictor.leave.weight  # type: ignore[union-attr]
    (wanted,) = torch.autograd.grad(errors.found.mean(), weight, retain_graph=True)  # type: ignore[arg-type]
    assert torch.allclose(weight.grad[:-1], wanted[:-1])  # type: ignore[index, union-attr]
    assert not wanted[-1].any() and weight.grad[-1].any()  # type: ignore[index, union-attr]


def test_the_expected_error_of_noise_is_what_is_found() -> None:
    """With the encoder as it is, the best constant expectation is the mean error."""
    torch.manual_seed(0)
    found = torch.rand(1, 500, 1) + 0.1
    told = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([told], 0.05)
    for _ in range(400):
        optimizer.zero_grad()
        NextErrors(found, told.exp().expand(1, 500, 1)).log_loss.mean().backward()
        optimizer.step()
    assert torch.isclose(told.exp(), found.mean(), rtol=1e-2)
