"""Predictors: from a window of latents and normalised actions to the next latent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wmplan.models.predictors.base import Predictor
from wmplan.models.predictors.mlp import MLPPredictor
from wmplan.models.predictors.transformer import TransformerPredictor
from wmplan.models.registry import build

PREDICTORS: dict[str, Callable[..., Predictor]] = {"mlp": MLPPredictor, "transformer": TransformerPredictor}

__all__ = ["PREDICTORS", "MLPPredictor", "Predictor", "TransformerPredictor", "make_predictor"]


def make_predictor(name: str, latent_dim: int, action_dim: int, history: int, **options: Any) -> Predictor:
    """The predictor `name` of latents of `latent_dim` numbers under actions of `action_dim` numbers.

    Raises:
        UserError: at an unknown name or option.
    """
    return build("predictor", PREDICTORS, name, latent_dim, action_dim, history, options=options)
