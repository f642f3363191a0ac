"""What a run is watched by."""

from __future__ import annotations

import torch

from wmplan.models import JEPA, JEPAConfig, ModelSpec
from wmplan.training.measures import one_step_error


def test_the_one_step_error_is_finite_for_a_single_window_too() -> None:
    spec = ModelSpec((64, 64), 2, 5, (-1.0,), (1.0,), (0.0,), (1.0,), (4,))
    options = {"channels": [8], "keypoints": 4, "hidden": 8}
    model = JEPA(JEPAConfig("keypoint", options, 4, predictor_options={"width": 32, "depth": 1}), spec)
    generator = torch.Generator().manual_seed(0)
    latents, actions = torch.randn(6, 3, 4, generator=generator), torch.rand(6, 2, 5, generator=generator)
    with torch.no_grad():
        errors = model.predict_windows(latents, actions)[:, 0] - latents[:, 2]
    torch.testing.assert_close(one_step_error(model, latents, actions), errors.std(0))
    torch.testing.assert_close(one_step_error(model, latents[:1], actions[:1]), errors[0].abs())
