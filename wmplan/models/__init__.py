"""World models: from camera frames to latents, and from latents and actions to later latents.

The names below are loaded when they are first asked for, so that a wrong file is refused without loading torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wmplan.models.base import Frames, ModelSpec, WorldModel
    from wmplan.models.checkpoint import save
    from wmplan.models.critic import TemporalCritic
    from wmplan.models.decoder import Decoder
    from wmplan.models.encoders import make_encoder
    from wmplan.models.errors import CheckpointError
    from wmplan.models.jepa import JEPA, JEPAConfig
    from wmplan.models.loading import load, resolve, sha256, shipped_models
    from wmplan.models.predictors import make_predictor

_HOME = {
    "JEPA": "jepa",
    "CheckpointError": "errors",
    "Decoder": "decoder",
    "Frames": "base",
    "JEPAConfig": "jepa",
    "ModelSpec": "base",
    "TemporalCritic": "critic",
    "WorldModel": "base",
    "load": "loading",
    "make_encoder": "encoders",
    "make_predictor": "predictors",
    "resolve": "loading",
    "save": "checkpoint",
    "sha256": "loading",
    "shipped_models": "loading",
}

__all__ = [
    "JEPA",
    "CheckpointError",
    "Decoder",
    "Frames",
    "JEPAConfig",
    "ModelSpec",
    "TemporalCritic",
    "WorldModel",
    "load",
    "make_encoder",
    "make_predictor",
    "resolve",
    "save",
    "sha256",
    "shipped_models",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'wmplan.models' has no attribute {name!r}")
    return getattr(import_module(f"wmplan.models.{_HOME[name]}"), name)
