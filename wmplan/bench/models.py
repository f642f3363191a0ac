"""The models that speed is measured on: the sizes of releases, with random weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from wmplan.errors import UserError
from wmplan.models.base import ModelSpec, WorldModel

LEWM: dict[str, Any] = {
    "image_size": 224,
    "patch_size": 14,
    "encoder": {"hidden_size": 192, "depth": 12, "num_heads": 3, "intermediate_size": 768},
    "projector": {"dims": [192, 2048, 192]},
    "pred_proj": {"dims": [192, 2048, 192]},
    "action_encoder": {"input_dim": 10, "raw_action_dim": 2},
    "predictor": {"num_frames": 3, "input_dim": 192, "depth": 6, "heads": 16, "dim_head": 64, "mlp_dim": 2048},
}
DINO_WM: dict[str, Any] = {
    "enc_dim": 384,
    "num_patches": 196,
    "num_hist": 3,
    "action_dim": 10,
    "raw_action_dim": 2,
    "action_emb_dim": 10,
    "proprio_dim": 4,
    "proprio_emb_dim": 10,
    "predictor": {"depth": 6, "heads": 16, "dim_head": 64, "mlp_dim": 2048},
}


def keypoint() -> WorldModel:
    """The small JEPA that wmplan trains by default, as for Push-T."""
    from wmplan.models.jepa import JEPA, JEPAConfig

    spec = ModelSpec(
        image_size=(64, 64),
        history=2,
        action_block=5,
        action_low=(-1.0, -1.0),
        action_high=(1.0, 1.0),
        action_mean=(0.0, 0.0),
        action_std=(0.5, 0.5),
        latent_shape=(34,),
        proprio_dim=2,
        proprio_mean=(0.0, 0.0),
        proprio_std=(1.0, 1.0),
    )
    return JEPA(JEPAConfig(), spec)


def lewm() -> WorldModel:
    """LeWM as released: an encoder of 5 million parameters and a predictor of 10.8 million."""
    from wmplan.models.released.lewm import LeWM

    return LeWM.build(LEWM)


def dino_wm() -> WorldModel:
    """DINO-WM's predictor over 196 patch tokens a frame; its frozen encoder is not part of it."""
    from wmplan.models.released.dino_wm import DinoWM

    return DinoWM.build(DINO_WM)


MODELS: dict[str, Callable[[], WorldModel]] = {"keypoint": keypoint, "lewm": lewm, "dino_wm": dino_wm}


def make_model(name: str, seed: int = 0) -> WorldModel:
    """A model of MODELS whose weights are random, and such that its predictions depend on the actions.

    Raises:
        ValueError: if there is no such model.
    """
    if name not in MODELS:
        raise UserError(f"there is no model {name!r} to measure; there are {', '.join(MODELS)}")
    with torch.random.fork_rng(devices=[]):  # building draws from the global generator
        model = MODELS[name]().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:  # vectors keep their values: gains of norms, biases
                fan_in = math.prod(weight.shape[1:])
                weight.copy_(torch.randn(weight.shape, generator=generator) / math.sqrt(fan_in))
    return model
