"""Predictors: from a window of latents and normalised actions to the next latent."""

from __future__ import annotations

from typing import Any

from wmplan.models.predictors.base import Predictor
from wmplan.models.predictors.hidden_state import HiddenStatePredictor
from wmplan.models.predictors.mlp import MLPPredictor
from wmplan.models.predictors.recurrent import RecurrentPredictor
from wmplan.models.predictors.transformer import TransformerPredictor
from wmplan.models.registry import build
from wmplan.registry import PREDICTORS

__all__ = [
    "PREDICTORS",
    "HiddenStatePredictor",
    "MLPPredictor",
    "Predictor",
    "RecurrentPredictor",
    "TransformerPredictor",
    "make_predictor",
]


def make_predictor(
    name: str, latent_dim: int, action_dim: int, history: int, action_block: int = 1, /, **options: Any
) -> Predictor:
    """The predictor `name` of latents of `latent_dim` numbers under blocks of `action_dim` numbers.

    Args:
        action_block: robot steps in a block.

    Raises:
        UserError: at an unknown name or option.
    """
    return build(PREDICTORS, name, latent_dim, action_dim, history, action_block, options=options)
