"""Models on disk: a folder with weights.safetensors and config.json.

The weights file carries a copy of the configuration in its header and is complete by itself; config.json is there for
people to read and holds the card, which may be edited. It names the weights file it belongs to by its hash, so that a
save that was cut off between the two files is recognised, and the copy used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from wmplan.durable import write_durably
from wmplan.errors import UserError
from wmplan.models.base import WorldModel

FORMAT_VERSION = 1
WEIGHTS, CONFIG = "weights.safetensors", "config.json"


class CheckpointError(UserError):
    """A checkpoint cannot be read, is not one of ours, or does not fit its configuration."""


# ------------------------------------------------------------------ writing


def save(model: WorldModel, folder: str | Path, card: Mapping[str, Any], *, half: bool = False) -> None:
    """Write `model` into `folder`; a reader finds the old checkpoint or the new one, never a mixture.

    Args:
        card: what people and programs should know of the model: name, task, data, seed, commit, command, figures,
            planning. Anything JSON can hold.
        half: store the parameters in float16 and so halve the file; buffers (metrics, scales) stay float32.

    Raises:
        CheckpointError: if a weight is not finite, or not any more in float16.
    """
    tensors = {}
    parameters = {name for name, _ in model.named_parameters()}
    for name, tensor in model.state_dict().items():
        stored = tensor.detach().cpu().contiguous()
        if stored.is_floating_point():
            stored = stored.to(torch.float16 if half and name in parameters else torch.float32)
        tensors[name] = stored
    require_finite(tensors, "this model, as it would be stored,")
    config = {
        "format": "wmplan",
        "format_version": FORMAT_VERSION,
        "architecture": model.architecture,
        "spec": asdict(model.spec),
        "card": dict(card),
    }
    weights = serialize(tensors, metadata={"wmplan": json.dumps(config)})
    config["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(folder / WEIGHTS, lambda file: file.write(weights))
    write_durably(folder / CONFIG, lambda file: file.write((json.dumps(config, indent=2) + "\n").encode()))


# ------------------------------------------------------------------ reading


def is_ours(path: Path) -> bool:
    """Whether `path` claims to be a wmplan checkpoint; it may still be a broken one."""
    if path.is_dir():
        config = path / CONFIG
        return config.exists() and b'"wmplan"' in config.read_bytes()
    with path.open("rb") as file:
        return b'"wmplan"' in file.read(100_000)


def read_config(path: Path) -> tuple[dict[str, Any], Path]:
    """The checked configuration of a checkpoint, and its weights file."""
    file = path / WEIGHTS if path.is_dir() else path
    if not file.exists():
        raise CheckpointError(f"{file} is missing: {path} is no complete checkpoint")
    config: Any = None
    if path.is_dir():
        try:
            config = json.loads((path / CONFIG).read_text())
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{path / CONFIG} is not valid JSON: {error}") from error
        check_config(config, path / CONFIG)
    if config is None or config.get("weights_sha256") not in (None, hashlib.sha256(file.read_bytes()).hexdigest()):
        _, header = read_weights(file, tensors=False)  # a save was cut off before config.json, or there is none
        if header is None:
            raise CheckpointError(f"{file} is not the weights file that {path / CONFIG} belongs to")
        config = json.loads(header)
        check_config(config, file)
    return config, file


def check_config(config: Any, source: Path) -> None:
    """Raise a CheckpointError unless this is a configuration of a version that can be read."""
    if not isinstance(config, dict) or config.get("format") != "wmplan":
        raise CheckpointError(f"{source} is not the configuration of a wmplan model: its format is not 'wmplan'")
    if config.get("format_version") != FORMAT_VERSION:
        version = config.get("format_version")
        raise CheckpointError(f"{source} has format_version {version!r}, this version of wmplan reads {FORMAT_VERSION}")
    for section in ("architecture", "spec", "card"):
        if not isinstance(config.get(section), dict):
            raise CheckpointError(f"{source} lacks the section {section!r}")


def read_weights(file: Path, tensors: bool = True) -> tuple[dict[str, Tensor], str | None]:
    """The tensors of a safetensors file (none, if they are not wanted) and our part of its header."""
    try:
        with safe_open(file, framework="pt") as opened:
            header = (opened.metadata() or {}).get("wmplan")
            return {name: opened.get_tensor(name) for name in opened.keys()} if tensors else {}, header  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(describe_broken(file, error)) from error


def describe_broken(file: Path, error: Exception) -> str:
    """What is wrong with a file that the safetensors library cannot read."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(9)
    if size == 0:
        return f"{file} is empty"
    if start[:2] == b"PK" or start[:1] == b"\x80":
        return f"{file} is a pickle as torch.save writes it, not safetensors; wmplan loads none, they can run code"
    header_end = int.from_bytes(start[:8], "little") + 8
    if size < header_end < 1e8 or (start[8:9] == b"{" and "incomplete" in str(error).lower()):
        return f"{file} is truncated, it ends after {size} bytes: copy it again"
    return f"{file} is not a safetensors file: {error}"


# ------------------------------------------------------------------ checks of tensors


def require_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    """Raise a CheckpointError that names the first tensor with numbers that are not finite."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{source} holds numbers that are not finite, in {name}")


def require_fit(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: str) -> None:
    """Raise a CheckpointError that says how a file's tensors differ from the model's, a few of each kind."""
    reshaped = [
        f"{name} {tuple(given[name].shape)} for {tuple(wanted[name].shape)}"
        for name in sorted(given.keys() & wanted.keys())
        if given[name].shape != wanted[name].shape
    ]
    kinds = {
        "missing": sorted(wanted.keys() - given.keys()),
        "unexpected": sorted(given.keys() - wanted.keys()),
        "of another shape": reshaped,
    }
    differences = [f"{len(names)} {kind} ({shorten(names)})" for kind, names in kinds.items() if names]
    if differences:
        raise CheckpointError(f"{source} does not fit its configuration, tensors are {'; '.join(differences)}")


def shorten(names: list[str], shown: int = 3) -> str:
    """The first few names, and how many more there are."""
    more = f", and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
