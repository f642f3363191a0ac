"""World models: from camera frames to latents, and from latents and actions to later latents."""

from __future__ import annotations

from wmplan.models.base import Frames, ModelSpec, WorldModel
from wmplan.models.checkpoint import CheckpointError, save
from wmplan.models.critic import TemporalCritic
from wmplan.models.decoder import Decoder
from wmplan.models.encoders import make_encoder
from wmplan.models.jepa import JEPA, JEPAConfig
from wmplan.models.loading import load, resolve, sha256, shipped_models
from wmplan.models.predictors import make_predictor

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
