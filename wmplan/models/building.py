"""Models from checked checkpoints: an untrained one of the size that they state, and their weights in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from wmplan.models import released
from wmplan.models.base import ModelSpec, WorldModel
from wmplan.models.checkpoint import Checkpoint, require_finite
from wmplan.models.errors import CheckpointError
from wmplan.models.jepa import JEPA, JEPAConfig
from wmplan.models.sizing import build_to_fit
from wmplan.models.video_jepa import ClipSpec, VideoJEPA, ViTConfig
from wmplan.models.wrappers import unwrap
from wmplan.settings.build import build

M = TypeVar("M", WorldModel, VideoJEPA)
WITHOUT_ACTIONS = "video_jepa"
"""The kind of architecture of a model without actions."""


def from_checkpoint(checkpoint: Checkpoint, path: Path) -> WorldModel:
    """The model in a checkpoint that was opened at `path`.

    Raises:
        CheckpointError: where configuration and weights do not fit together, or this machine does not hold them.
    """
    config = checkpoint.config
    if config["architecture"].get("kind") == WITHOUT_ACTIONS:
        what, use = "an encoder that was pretrained", f"wmplan train pretrained={path} makes a world model of it"
        if config["architecture"].get("causal"):
            what, use = "a model of clips", f"wmplan physics model={path} examines it"
        raise CheckpointError(
            f"{path} holds {what} without actions, which nothing can be planned with: {use}, "
            "wmplan.models.load_pretrained reads it"
        )
    return filled(
        lambda: build_model(config["architecture"], build(ModelSpec, config["spec"], "spec")), checkpoint, path
    )


def pretrained_from_checkpoint(checkpoint: Checkpoint, path: Path) -> VideoJEPA:
    """The model without actions in a checkpoint that was opened at `path`.

    Raises:
        CheckpointError: where it holds another kind of model, as from_checkpoint() else.
    """
    options = dict(checkpoint.config["architecture"])
    if options.pop("kind", None) != WITHOUT_ACTIONS:
        raise CheckpointError(f"{path} holds no encoder that wmplan pretrain wrote")
    beside = {name: options.pop(name) for name in ("target", "projection", "standard", "causal") if name in options}
    return filled(
        lambda: VideoJEPA(
            build(ClipSpec, checkpoint.config["spec"], "spec"),
            build(ViTConfig, options, "architecture"),
            **beside,
        ),
        checkpoint,
        path,
    )


@torch.inference_mode(False)
def filled(make: Callable[[], M], checkpoint: Checkpoint, path: Path) -> M:
    """What `make` builds, with the weights of a checkpoint in it.

    Weights made in inference mode would not tell when they change, and be packed for no one.
    """
    config, weights = checkpoint.config, checkpoint.weights

    def configured() -> M:
        try:
            return make()
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
