"""Models by name: a shipped one, a folder of ours, or another lab's checkpoint.

A name or a file that is wrong is refused before torch is loaded, which takes a second and 200 MiB.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmplan.models import released
from wmplan.models.checkpoint import CONFIG, WEIGHTS, is_ours, open_checkpoint
from wmplan.models.errors import CheckpointError
from wmplan.models.reading import readable
from wmplan.models.released.hub import is_hub, local_path
from wmplan.models.released.release import describe_unknown, weights_file
from wmplan.models.weights_file import file_sha256
from wmplan.settings.dtypes import check_dtype
from wmplan.settings.suggest import did_you_mean

if TYPE_CHECKING:
    import torch

    from wmplan.models.base import WorldModel
    from wmplan.models.video_jepa import VideoJEPA

SHIPPED = Path(__file__).parent / "shipped"


def shipped_models() -> dict[str, dict[str, Any]]:
    """The models inside the package: name -> card."""
    folders = sorted(path.parent for path in SHIPPED.glob(f"*/{CONFIG}"))
    return {folder.name: open_checkpoint(folder).config["card"] for folder in folders}


def tasks_of(card: Mapping[str, Any]) -> tuple[str, ...]:
    """The Gymnasium ids of the tasks that a model is for, by its card: the one it names, and all that it lists."""
    named = [one for one in (card.get("task"), *card.get("tasks", ())) if one is not None]
    return tuple(dict.fromkeys(named))


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
    path = Path(os.path.expanduser(name_or_path))  # ~nobody stays as it is
    with readable(path):
        if path.exists():
            return model_of_run(path)
        if path.is_symlink():
            raise CheckpointError(f"{path} is a symbolic link that leads nowhere")
    shipped = f"the shipped models are {', '.join(names)}" if names else "no models are shipped"
    guess = did_you_mean(name, names)
    hint = f" ({guess})" if guess.startswith("did you mean") else ""
    raise CheckpointError(f"there is no model and no folder or file {name!r}; {shipped}{hint}")


def model_of_run(path: Path) -> Path:
    """The model in the folder of a training run; any other path as it is.

    Raises:
        CheckpointError: if the run has not written its model yet.
    """
    if (path / CONFIG).exists():
        return path
    if (path / "model" / CONFIG).exists():
        return path / "model"
    if (path / "train.json").exists():
        raise CheckpointError(f"{path} holds a training run that has not written {path / 'model'} yet: finish it first")
    return path


def card_of(name_or_path: str | Path) -> dict[str, Any]:
    """The card of a model of ours, without its weights; empty for other labs' models and those on the hub.

    Raises:
        CheckpointError: if there is no such model, or its configuration is wrong.
    """
    if is_hub(str(name_or_path)):
        return {}
    path = resolve(name_or_path)
    with readable(path):
        return dict(open_checkpoint(path).config["card"]) if is_ours(path) else {}


def sha256(name_or_path: str | Path) -> str:
    """Hash of the weights file, which holds the weights and how the model is built: what identifies a model."""
    path = resolve(name_or_path)
    return file_sha256(path / WEIGHTS if path.is_dir() else path)


def load(name_or_path: str | Path, device: torch.device | str | None = None, dtype: str | None = None) -> WorldModel:
    """The model of a shipped name, a folder that save() wrote, its weights file alone, or another lab's checkpoint.

    Args:
        device: where to; what the machine has, if left out.
        dtype: what its rollouts multiply in: float32, bfloat16, or auto for bfloat16 where that is faster here and the
            card says that the model plans as well, see wmplan.models.precision; which it is, and why, is logged.
            float32, if left out.

    Returns:
        The model in evaluation mode, its latents in float32; `model.card` is its card.

    Raises:
        CheckpointError: in one line, what is wrong with the checkpoint.
        UserError: if the device cannot be used, or the model has no such type.
    """
    if dtype is not None:
        check_dtype(dtype)
    path = resolve(name_or_path)
    with readable(path):
        model = load_ours(path) if is_ours(path) else released.recognise(path)
        if model is None:
            raise CheckpointError(describe_foreign(path))
    import torch

    from wmplan.device import find_device

    with torch.inference_mode(False):  # weights made inside it do not tell when they change, and are packed for no one
        model = model.eval().to(find_device(device))
    if dtype is not None:
        from wmplan.models.precision import log, take_dtype

        log.info("planning in %s", take_dtype(model, dtype))
    return model


def load_pretrained(path: str | Path, device: torch.device | str | None = None) -> VideoJEPA:
    """The model without actions in a folder that `wmplan pretrain` wrote, in float32 and evaluation mode.

    Args:
        path: the folder of the model or of its run, or the weights file alone.
        device: where to; what the machine has, if left out.

    Raises:
        CheckpointError: in one line, what is wrong with the checkpoint.
        UserError: if the device cannot be used.
    """
    found = resolve(path)
    with readable(found):
        if not is_ours(found):
            raise CheckpointError(describe_foreign(found))
        checkpoint = open_checkpoint(found)
        from wmplan.models.building import pretrained_from_checkpoint

        model = pretrained_from_checkpoint(checkpoint, found)
    import torch

    from wmplan.device import find_device

    with torch.inference_mode(False):
        return model.eval().to(find_device(device))


def load_ours(path: Path) -> WorldModel:
    """The model of a folder that save() wrote, or of its weights file."""
    checkpoint = open_checkpoint(path)
    from wmplan.models.building import from_checkpoint

    return from_checkpoint(checkpoint, path)


def describe_foreign(path: Path) -> str:
    """What is wrong with a path that is neither ours nor of a known other lab."""
    config, weights = path / CONFIG, path / WEIGHTS
    if weights.exists() and not config.exists() and is_ours(weights):
        return f"{config} is missing: copy it too, or load {weights} alone"
    if weights_file(path) is not None:
        unknown = describe_unknown(path)
        return f"{unknown}; {config.name} beside it has not the format 'wmplan'" if config.exists() else unknown
    if not config.exists():
        return f"{config} is missing: {path} holds no model"
    return f"{config} is not the configuration of a wmplan model: its format is not 'wmplan'"
