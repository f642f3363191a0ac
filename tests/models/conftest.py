"""Small models for the tests of wmplan.models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from wmplan.models import JEPA, JEPAConfig, ModelSpec

SMALL = {"channels": [4, 4], "keypoints": 5, "hidden": 8}


@pytest.fixture
def make_jepa() -> Callable[..., JEPA]:
    """Builds a small JEPA with random weights in every layer, those that start at zero too."""

    def make(
        *,
        history: int = 2,
        proprio: int = 2,
        predictor: str = "mlp",
        cameras: tuple[str, ...] = ("pixels",),
        **options: Any,
    ) -> JEPA:
        spec = ModelSpec(
            image_size=(16, 24),
            history=history,
            action_block=2,
            action_low=(-1.0, -2.0, -3.0),
            action_high=(1.0, 2.0, 3.0),
            action_mean=(0.1, -0.2, 0.3),
            action_std=(0.5, 1.5, 2.5),
            latent_shape=(6 * len(cameras) + proprio,),
            proprio_dim=proprio,
            proprio_mean=(0.4, -0.5)[:proprio],
            proprio_std=(0.25, 2.0)[:proprio],
            cameras=cameras,
        )
        options = {"encoder_options": SMALL, "predictor_options": {"width": 16, "depth": 2}, **options}
        model = JEPA(JEPAConfig(latent_dim=6, predictor=predictor, **options), spec)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        return model.eval()

    return make


@pytest.fixture
def frames() -> Callable[..., torch.Tensor]:
    """Random uint8 frames (B, T, 16, 24, 3)."""

    def make(batch: int = 2, time: int = 2, seed: int = 0) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(0, 256, (batch, time, 16, 24, 3), generator=generator, dtype=torch.uint8)

    return make
