"""What a file or folder of another lab holds: the family, its tensors under our names, and its sizes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmplan.models.errors import CheckpointError, shorten
from wmplan.models.reading import read_bounded, read_json, require_regular
from wmplan.models.released.hub import check_download
from wmplan.models.released.inference import infer, merge
from wmplan.models.released.peer_names import from_peer_config, from_peer_names
from wmplan.models.released.torch_archive import StoredTensor, TorchArchive, stored_tensors
from wmplan.models.released.transformers_names import old_names
from wmplan.models.weights_file import WeightsFile
from wmplan.models.wrappers import find_prefix, under_prefix, unwrap

if TYPE_CHECKING:
    from torch import Tensor

MOST_HYDRA_BYTES = 2**16
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


def open_release(
    path: str | Path, architecture: Mapping[str, Any] | None = None, prefix: str | None = None
) -> Release | None:
    """Read the checkpoint in a file or folder, or None when it is none of a family that is known.

    Args:
        path: a weights file, or a folder with one (and its config.json, or hydra.yaml).
        architecture: sizes that are known better than what the tensors and the files beside them say.
        prefix: which model is wanted where the file holds several; see wrappers.find_prefix().

    Raises:
        CheckpointError: when the file is damaged, holds several models, or the folder has several weights files.
    """
    file = weights_file(Path(path))
    if file is None:
        return None
    check_download(file)
    stored, read = index(file)
    names = unwrap(stored, file)
    found = find_prefix(names, [sign for sign, _ in SIGNS.values()], prefix, file)
    if found is None:
        return None
    theirs = under_prefix(names, found, file)
    inner = our_names(theirs)
    if len(inner) < len(theirs):
        raise CheckpointError(f"{file} holds a tensor twice, under the names of two versions of its program")
    kind = next((kind for kind, (sign, _) in SIGNS.items() if sign in inner), None)
    if kind is None:
        return None
    wanted = {name: theirs for name, theirs in inner.items() if name.split(".")[0] in SIGNS[kind][1]}
    inferred = infer(kind, {name: stored[theirs] for name, theirs in wanted.items()})
    sizes = merge(merge(inferred, sizes_beside(file)), architecture or {})
    return Release(file, kind, {name: read(theirs) for name, theirs in wanted.items()}, sizes)


def describe_unknown(path: Path) -> str:
    """What is in a weights file, or a folder with one, that is of no family that is known."""
    file = weights_file(path)
    assert file is not None
    names = list(index(file)[0])
    holds = f"it holds {len(names)} tensors: {shorten(names)}" if names else "it holds no tensors"
    kind = "a file of torch.save" if is_archive(file) else "a safetensors file"
    return f"{file} is {kind} of no model that wmplan knows; {holds}"


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


def index(file: Path) -> tuple[Mapping[str, tuple[int, ...]], Callable[[str], Tensor]]:
    """Shapes of a file's tensors by their names, and a function that reads one of them."""
    if not is_archive(file):
        weights = WeightsFile(file)
        weights.require_intact()
        return weights.shapes, weights.tensor
    archive = TorchArchive(file)
    stored: dict[str, StoredTensor] = {}
    try:
        for name, tensor in stored_tensors(archive.content):
            if name in stored:
                raise CheckpointError(f"two tensors in it are called {name}")
            stored[name] = tensor
    except CheckpointError as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    return {name: tensor.shape for name, tensor in stored.items()}, lambda name: archive.read(stored[name])


def is_archive(file: Path) -> bool:
    """Whether this is a file of torch.save, whole or broken, and no safetensors file."""
    require_regular(file)
    with file.open("rb") as opened:
        start = opened.read(9)
    return start[:2] == b"PK" or (file.suffix != ".safetensors" and start[8:] != b"{")


def our_names(names: Mapping[str, str]) -> dict[str, str]:
    """Names as our models have them, for those of stable-worldmodel and of newer transformers too."""
    return old_names(from_peer_names(names))


def sizes_beside(file: Path) -> dict[str, Any]:
    """Sizes that a config.json (stable-worldmodel's, or one with an "architecture") or DINO-WM's hydra.yaml states."""
    config, hydra = file.parent / "config.json", file.parent / "hydra.yaml"
    if config.exists():
        content = read_json(config)
        if isinstance(content, dict) and isinstance(content.get("architecture"), dict):
            return dict(content["architecture"])
        return from_peer_config(content) if isinstance(content, dict) else {}
    if hydra.exists():
        content = read_hydra(hydra)
        return from_hydra(content) if isinstance(content, dict) else {}
    return {}


def read_hydra(file: Path) -> Any:
    """A configuration of Hydra; everything plain in it is a text.

    The loader for texts alone knows no merge keys ("<<"), by which a page of YAML can ask for all of the memory.
    """
    import yaml  # of Hydra's own dependencies

    try:
        return yaml.load(read_bounded(file, MOST_HYDRA_BYTES), yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{file} is not valid YAML") from error


def from_hydra(content: Mapping[str, Any]) -> dict[str, Any]:
    """The window and the size of images that a DINO-WM was trained with."""
    known = {"num_hist": "num_hist", "img_size": "image_size"}
    sizes = {ours: content.get(theirs) for theirs, ours in known.items()}
    return {name: int(size) for name, size in sizes.items() if isinstance(size, str) and re.fullmatch(r"\d{1,9}", size)}
