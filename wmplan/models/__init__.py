"""World models: from camera frames to latents, and from latents and actions to later latents.

The names below are loaded when they are first asked for, so that a wrong file is refused without loading torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wmplan.lazy import export

if TYPE_CHECKING:
    from wmplan.models.base import Frames as Frames
    from wmplan.models.base import ModelSpec as ModelSpec
    from wmplan.models.base import WorldModel as WorldModel
    from wmplan.models.checkpoint import save as save
    from wmplan.models.critic import TemporalCritic as TemporalCritic
    from wmplan.models.decoder import Decoder as Decoder
    from wmplan.models.encoders import make_encoder as make_encoder
    from wmplan.models.errors import CheckpointError as CheckpointError
    from wmplan.models.jepa import JEPA as JEPA
    from wmplan.models.jepa import JEPAConfig as JEPAConfig
    from wmplan.models.loading import load as load
    from wmplan.models.loading import load_pretrained as load_pretrained
    from wmplan.models.loading import resolve as resolve
    from wmplan.models.loading import sha256 as sha256
    from wmplan.models.loading import shipped_models as shipped_models
    from wmplan.models.predictors import make_predictor as make_predictor
    from wmplan.models.sprite_decoder import SpriteDecoder as SpriteDecoder
    from wmplan.models.video_jepa import VideoJEPA as VideoJEPA

__all__ = export(
    __name__,
    {
        ".base": "Frames ModelSpec WorldModel",
        ".checkpoint": "save",
        ".critic": "TemporalCritic",
        ".decoder": "Decoder",
        ".encoders": "make_encoder",
        ".errors": "CheckpointError",
        ".jepa": "JEPA JEPAConfig",
        ".loading": "load load_pretrained resolve sha256 shipped_models",
        ".predictors": "make_predictor",
        ".sprite_decoder": "SpriteDecoder",
        ".video_jepa": "VideoJEPA",
    },
)
