"""Models by name: a shipped one, a folder of ours, or another lab's checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from wmplan.device import find_device
from wmplan.models import public
from wmplan.models.base import ModelSpec, WorldModel
from wmplan.models.checkpoint import (
    CONFIG,
    WEIGHTS,
    CheckpointError,
    is_ours,
    read_config,
    read_weights,
    require_finite,
    require_fit,
)
from wmplan.models.jepa import JEPA, JEPAConfig
from wmplan.models.public.hub import is_hub, local_path
from wmplan.settings.build import build
from wmplan.settings.nearest import did_you_mean

SHIPPED = Path(__file__).parent / "shipped"


def shipped_models() -> dict[str, dict[str, Any]]:
    """The models inside the package: name -> card."""
    folders = sorted(path.parent for path in SHIPPED.glob(f"*/{CONFIG}"))
    return {folder.name: read_config(folder)[0]["card"] for folder in folders}


def resolve(name_or_path: str | Path) -> Path:
    """The folder or file of a model: a shipped name (write ./name for a folder of yours), hf://org/name, or a path.

    Raises:
        CheckpointError: if there is neither.
    """
    name = str(name_or_path)
    names = sorted(path.parent.name for path in SHIPPED.glob(f"*/{CONFIG}"))
    if name in names:
        return SHIPPED / name
    if is_hub(name):
        return local_path(name)
    path = Path(name_or_path).expanduser()
    if path.exists():
        return path
    shipped = f"the shipped models are {', '.join(names)}" if names else "no models are shipped"
    hint = f" ({did_you_mean(name, names)})" if names else ""
    raise CheckpointError(f"there is no model and no folder or file {name!r}; {shipped}{hint}")


def sha256(name_or_path: str | Path) -> str:
    """Hash of the weights file, which holds the weights and how the model is built: what identifies a model."""
    path = resolve(name_or_path)
    path = path / WEIGHTS if path.is_dir() else path
    if not path.exists():
        raise CheckpointError(f"{path} is missing")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load(name_or_path: str | Path, device: torch.device | str | None = None) -> WorldModel:
    """The model of a shipped name, a folder that save() wrote, its weights file alone, or another lab's checkpoint.

    Args:
        device: where to; what the machine has, if left out.

    Returns:
        The model in float32 and evaluation mode; `model.card` is its card.

    Raises:
        CheckpointError: in one line, what is wrong with the checkpoint.
        UserError: if the device cannot be used.
    """
    path, device = resolve(name_or_path), find_device(device)
    with torch.inference_mode(False):  # weights made inside it do not tell when they change, and are packed for no one
        model = load_ours(path) if is_ours(path) else public.recognise(path)
        if model is None:
            raise CheckpointError(describe_foreign(path))
        return model.eval().to(device)


def load_ours(path: Path) -> WorldModel:
    """The model of a folder that save() wrote, or of its weights file."""
    config, file = read_config(path)
    try:
        spec = build(ModelSpec, config["spec"])
        model = build_model(config["architecture"], spec)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"the configuration in {path} is wrong: {error}") from error
    tensors, _ = read_weights(file)
    require_fit(tensors, model.state_dict(), str(file))
    require_finite(tensors, str(file))
    model.load_state_dict(tensors)  # copies into float32
    model.card = config["card"]
    return model


def build_model(architecture: Mapping[str, Any], spec: ModelSpec) -> WorldModel:
    """An untrained model of the architecture that a configuration describes."""
    options = dict(architecture)
    kind = options.pop("kind", "jepa")
    if kind == "jepa":
        return JEPA(build(JEPAConfig, options, "architecture"), spec)
    model = public.build(architecture, spec)
    if model is None:
        raise CheckpointError(f"architecture.kind is {kind!r}, this version of wmplan does not know it")
    return model


def describe_foreign(path: Path) -> str:
    """What is wrong with a path that is neither ours nor of a known other lab."""
    if not path.is_dir():
        try:
            read_weights(path, tensors=False)
        except CheckpointError as error:
            return str(error)
        return f"{path} is a safetensors file of no model that wmplan knows"
    if not (path / CONFIG).exists():
        return f"{path / CONFIG} is missing: {path} holds no model"
    return f"{path / CONFIG} is not the configuration of a wmplan model: its format is not 'wmplan'"
