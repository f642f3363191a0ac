"""What a file or folder of another lab holds: the family, its tensors under our names, and its sizes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from wmplan.models.checkpoint import CheckpointError, describe_broken
from wmplan.models.public.hf_vit import old_names
from wmplan.models.public.inference import infer, merge
from wmplan.models.public.peer_names import from_peer_config, from_peer_names
from wmplan.models.public.torch_archive import TorchArchive, stored_tensors

WEIGHT_SUFFIXES = (".pt", ".pth", ".tar", ".ckpt", ".safetensors")
# A tensor that only this family has, and the modules that its model is made of.
SIGNS = {
    "lewm": (
        "predictor.transformer.layers.0.adaLN_modulation.1.weight",
        ("encoder", "predictor", "action_encoder", "projector", "pred_proj"),
    ),
    "vjepa2_ac": ("predictor.state_encoder.weight", ("encoder", "predictor")),
    "jepa_wm": ("predictor.predictor_blocks.0.adaLN_modulation.1.weight", ("predictor", "proprio_encoder")),
    "dino_wm": (
        "predictor.transformer.layers.0.0.to_qkv.weight",
        ("predictor", "action_encoder", "proprio_encoder"),
    ),
}


@dataclass(frozen=True)
class Release:
    """A checkpoint of another lab.

    Attributes:
        path: the weights file.
        kind: the family, as in SIGNS.
        tensors: of the parts that the model is made of.
        architecture: sizes, under the field names of the fixtures' config.json.
    """

    path: Path
    kind: str
    tensors: Mapping[str, Tensor]
    architecture: Mapping[str, Any]


def open_release(path: str | Path, architecture: Mapping[str, Any] | None = None) -> Release | None:
    """Read the checkpoint in a file or folder, or None when it is none of a family that is known.

    Args:
        path: a weights file, or a folder with one (and its config.json, or hydra.yaml).
        architecture: sizes that are known better than what the tensors and the files beside them say.

    Raises:
        CheckpointError: when the file is damaged, or the folder has several weights files.
    """
    file = weights_file(Path(path))
    if file is None:
        return None
    shapes, read = index(file)
    beside = sizes_beside(file)
    kind = next((kind for kind, (sign, _) in SIGNS.items() if sign in shapes), None)
    if kind is None:
        return None
    parts = SIGNS[kind][1]
    wanted = [name for name in shapes if name.split(".")[0] in parts]
    inferred = infer(kind, {name: shapes[name] for name in wanted})
    sizes = merge(merge(inferred, beside), architecture or {})
    return Release(file, kind, {name: read(name) for name in wanted}, sizes)


def weights_file(path: Path) -> Path | None:
    """The one weights file of a folder, or the file itself; None where there is none.

    Raises:
        CheckpointError: when the folder has several.
    """
    if not path.is_dir():
        return path if path.exists() else None
    files = sorted(file for file in path.iterdir() if file.is_file() and file.suffix in WEIGHT_SUFFIXES)
    files = [file for file in files if file.name != "io.safetensors"] or files
    latest = [file for file in files if file.name == "model_latest.pth"]  # DINO-WM's name for the last epoch
    if len(files) > 1 and not latest:
        raise CheckpointError(f"{path} holds several weights files, name one: {', '.join(file.name for file in files)}")
    return next(iter(latest or files), None)


def index(file: Path) -> tuple[dict[str, tuple[int, ...]], Callable[[str], Tensor]]:
    """Shapes of a file's tensors by the names of ours, and a function that reads one of them."""
    if file.suffix == ".safetensors":
        try:
            opened = safe_open(file, framework="pt")
            names = {clean(name): name for name in opened.keys()}  # noqa: SIM118
            shapes = {ours: tuple(opened.get_slice(name).get_shape()) for ours, name in names.items()}
        except Exception as error:  # the library's own error class says neither which file nor why
            raise CheckpointError(describe_broken(file, error)) from error
        renamed = {ours: theirs for theirs, ours in zip(shapes, our_names(list(shapes)), strict=True)}
        return {ours: shapes[theirs] for ours, theirs in renamed.items()}, lambda n: opened.get_tensor(
            names[renamed[n]]
        )
    archive = TorchArchive(file)
    stored = {}
    for name, tensor in stored_tensors(archive.content):
        if clean(name) in stored:
            raise CheckpointError(f"{file} holds {clean(name)} twice, with and without a prefix")
        stored[clean(name)] = tensor
    renamed = {ours: theirs for theirs, ours in zip(stored, our_names(list(stored)), strict=True)}
    shapes = {ours: stored[theirs].shape for ours, theirs in renamed.items()}
    return shapes, lambda name: archive.read(stored[renamed[name]])


def clean(name: str) -> str:
    """A name without the wrappers that training leaves: every "module.", and V-JEPA 2's "backbone."."""
    name = re.sub(r"(^|(?<=\.))module\.", "", name)
    return name if name.startswith("backbone.") else name.replace(".backbone.", ".")


def our_names(names: list[str]) -> list[str]:
    """Names as our models have them, for those of stable-worldmodel and of newer transformers too."""
    return list(old_names(from_peer_names(dict.fromkeys(names))))  # type: ignore[arg-type]


def sizes_beside(file: Path) -> dict[str, Any]:
    """Sizes that a config.json (stable-worldmodel's, or one with an "architecture") or DINO-WM's hydra.yaml states."""
    config, hydra = file.parent / "config.json", file.parent / "hydra.yaml"
    if config.exists():
        try:
            content = json.loads(config.read_text())
        except ValueError as error:
            raise CheckpointError(f"{config} is not valid JSON: {error}") from error
        if isinstance(content, dict) and isinstance(content.get("architecture"), dict):
            return dict(content["architecture"])
        return from_peer_config(content) if isinstance(content, dict) else {}
    if hydra.exists():
        import yaml  # of Hydra's own dependencies

        try:
            content = yaml.safe_load(hydra.read_text())
        except yaml.YAMLError as error:
            raise CheckpointError(f"{hydra} is not valid YAML") from error
        return from_hydra(content) if isinstance(content, dict) else {}
    return {}


def from_hydra(content: Mapping[str, Any]) -> dict[str, Any]:
    """The window and the size of images that a DINO-WM was trained with."""
    known = {"num_hist": "num_hist", "img_size": "image_size"}
    return {ours: content[theirs] for theirs, ours in known.items() if isinstance(content.get(theirs), int)}
