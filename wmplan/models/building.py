"""Models from checked checkpoints: an untrained one of the size that they state, and their weights in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from wmplan.models import released
from wmplan.models.base import ModelSpec, WorldModel
from wmplan.models.checkpoint import Checkpoint, require_finite
from wmplan.models.errors import CheckpointError
from wmplan.models.jepa import JEPA, JEPAConfig
from wmplan.models.sizing import build_to_fit
from wmplan.models.wrappers import unwrap
from wmplan.settings.build import build


@torch.inference_mode(False)
def from_checkpoint(checkpoint: Checkpoint, path: Path) -> WorldModel:
    """The model in a checkpoint that was opened at `path`.

    Weights made in inference mode would not tell when they change, and be packed for no one.

    Raises:
        CheckpointError: where configuration and weights do not fit together, or this machine does not hold them.
    """
    config, weights = checkpoint.config, checkpoint.weights

    def configured() -> WorldModel:
        try:
            return build_model(config["architecture"], build(ModelSpec, config["spec"], "spec"))
        except (ValueError, TypeError) as error:
            raise CheckpointError(f"the configuration in {path} is wrong: {error}") from error

    names = unwrap(weights.shapes, weights.path)
    shapes = {name: weights.shapes[theirs] for name, theirs in names.items()}
    model = build_to_fit(configured, shapes, str(weights.path))
    tensors = {name: weights.tensor(theirs) for name, theirs in names.items()}
    require_finite(tensors, str(weights.path))
    model.load_state_dict(tensors)  # copies into float32
    model.card = config["card"]
    return model


def build_model(architecture: Mapping[str, Any], spec: ModelSpec) -> WorldModel:
    """An untrained model of the architecture that a configuration describes."""
    options = dict(architecture)
    kind = options.pop("kind", "jepa")
    if kind == "jepa":
        return JEPA(build(JEPAConfig, options, "architecture"), spec)
    model = released.build(architecture, spec)
    if model is None:
        raise CheckpointError(f"architecture.kind is {kind!r}, this version of wmplan does not know it")
    return model
