"""Models on disk: a folder with weights.safetensors and config.json.

The weights file carries a copy of the configuration in its header and is complete by itself; config.json is there for
people to read and holds the card, which may be edited. Everything that is read back is checked: config.json names its
weights file by a hash, the weights file carries a hash of itself, and what both say of how the model is built has to
agree. A new configuration lies beside the old one until the new weights are in place, so that a save that was cut off
between the two is told from a folder with another model's weights.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmplan.atomic_io import write_durably
from wmplan.models.errors import CheckpointError
from wmplan.models.reading import MOST_BYTES, read_bounded, read_json, readable, require_regular
from wmplan.models.weights_file import FileChanged, WeightsFile, with_own_hash
from wmplan.models.wrappers import unwrap
from wmplan.settings.suggest import did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

    from wmplan.models.base import WorldModel
    from wmplan.models.video_jepa import VideoJEPA

FORMAT_VERSION = 1
WEIGHTS, CONFIG = "weights.safetensors", "config.json"
PLANNING = ("planner", "objective", "schedule")
NEXT_CONFIG = ".config.json.next"
"""The configuration of the weights that a save is about to put in place."""


# ------------------------------------------------------------------ writing


def save(model: WorldModel | VideoJEPA, folder: str | Path, card: Mapping[str, Any], *, half: bool = False) -> None:
    """Write `model` into `folder`; a reader finds the old checkpoint or the new one, never a mixture.

    Args:
        card: what people and programs should know of the model: name, task, data, seed, commit, command, figures,
            planning. Anything JSON can hold; numbers that are not finite are written as null.
        half: store the parameters in float16 and so halve the file; buffers (metrics, scales) stay float32.

    Raises:
        CheckpointError: if a weight is not finite, or not any more in float16.
    """
    import torch

    tensors = {}
    parameters = {name for name, _ in model.named_parameters()}
    state = model.state_dict()
    for short, name in unwrap(state, "this model").items():  # a part may have been compiled
        stored = state[name].detach().cpu().contiguous()
        if stored.is_floating_point():
            stored = stored.to(torch.float16 if half and name in parameters else torch.float32)
        tensors[short] = stored
    require_finite(tensors, "this model, as it would be stored,")
    config: dict[str, Any] = {
        "format": "wmplan",
        "format_version": FORMAT_VERSION,
        "architecture": model.architecture,
        "spec": asdict(model.spec),
        "card": finite_or_null(dict(card)),
    }
    weights = with_own_hash(tensors, config)
    digest = hashlib.sha256()
    for part in weights:
        digest.update(part)
    config["weights_sha256"] = digest.hexdigest()
    text = (json.dumps(config, indent=2) + "\n").encode()
    if len(text) > MOST_BYTES:
        raise CheckpointError(f"the configuration and the card must have at most {MOST_BYTES} bytes, got {len(text)}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(folder / NEXT_CONFIG, lambda file: file.write(text))
    write_durably(folder / WEIGHTS, lambda file: file.writelines(weights))
    write_durably(folder / CONFIG, lambda file: file.write(text))
    (folder / NEXT_CONFIG).unlink(missing_ok=True)


def add_to_card(folder: Path, section: str, content: Any) -> None:
    """Write a section into the card in a folder's config.json; all else in it stays, and so do the weights.

    Raises:
        CheckpointError: if the folder holds no checkpoint, or is damaged.
    """
    open_checkpoint(folder)
    config = read_json(folder / CONFIG)
    config["card"] = {**config["card"], section: finite_or_null(content)}
    text = (json.dumps(config, indent=2) + "\n").encode()
    write_durably(folder / CONFIG, lambda file: file.write(text))


def finite_or_null(value: Any) -> Any:
    """The same of a card, with None for the numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {key: finite_or_null(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_null(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# ------------------------------------------------------------------ reading


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of ours whose files were checked.

    Attributes:
        config: with the sections architecture, spec and card.
        weights: its weights file, open.
    """

    config: dict[str, Any]
    weights: WeightsFile


def is_ours(path: Path) -> bool:
    """Whether `path` claims to be a wmplan checkpoint; it may still be a broken one."""
    if path.is_dir():
        files = [path / name for name in (CONFIG, NEXT_CONFIG) if (path / name).exists()]
        return any(b'"wmplan"' in read_bounded(file) for file in files)
    require_regular(path)
    with readable(path), path.open("rb") as file:
        return b'"wmplan"' in file.read(100_000)


def open_checkpoint(path: Path) -> Checkpoint:
    """The checked checkpoint in a folder, or of a weights file alone.

    Raises:
        CheckpointError: where a file is missing, damaged, or belongs to another model.
    """
    for _ in range(4):
        try:
            return _open_folder(path) if path.is_dir() else _open_alone(path)
        except FileChanged:  # a training run exports its model just now
            continue
    return _open_folder(path) if path.is_dir() else _open_alone(path)


def _open_alone(file: Path) -> Checkpoint:
    weights = WeightsFile(file)
    weights.require_intact()
    check_config(weights.config, file)
    assert weights.config is not None
    return Checkpoint(weights.config, weights)


def _open_folder(folder: Path) -> Checkpoint:
    file = folder / WEIGHTS
    if not file.exists():
        raise CheckpointError(f"{file} is missing: {folder} is no complete checkpoint")
    weights = WeightsFile(file)
    configs = _read_configs(folder)
    named = {source: config.pop("weights_sha256", None) for source, config in configs.items()}
    if any(named.values()):
        found = weights.sha256()
        for source, config in configs.items():
            if named[source] == found:
                require_same_model(config, weights, source)
                return Checkpoint(config, weights)
    weights.require_intact()
    source = folder / CONFIG
    if source in configs and named[source] is None:  # written by an old version, or edited on purpose
        return Checkpoint(configs[source], weights)
    raise CheckpointError(
        f"{file} is not the weights file that {source} belongs to, their SHA-256 differ: it is damaged or of another "
        f"model; copy the folder again"
    )


def _read_configs(folder: Path) -> dict[Path, dict[str, Any]]:
    """The checked configurations in a folder: the one in place, and that of a save under way or cut off.

    The latter is read first: where it is gone once the new weights are there, the one in place is the new one.
    """
    configs = {}
    for source in (folder / NEXT_CONFIG, folder / CONFIG):
        try:
            configs[source] = read_json(source)
        except CheckpointError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                continue
            raise
        check_config(configs[source], source)
    return configs


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
    check_planning(config["card"].get("planning"), source)


def check_planning(planning: Any, source: Path) -> None:
    """Raise a CheckpointError where controllers would look in vain for what a card says of planning.

    The settings themselves are checked by what they are given to.
    """
    if planning is None:
        return
    if not isinstance(planning, dict):
        raise CheckpointError(f"{source}: card.planning must be a mapping, got {planning!r}")
    for name, section in planning.items():
        if name not in PLANNING:
            raise CheckpointError(f"{source}: card.planning has no {name!r}, {did_you_mean(name, PLANNING)}")
        if not isinstance(section, dict | None):
            raise CheckpointError(f"{source}: card.planning.{name} must be a mapping, got {section!r}")
    planner = (planning.get("planner") or {}).get("name", "")
    if not isinstance(planner, str):
        raise CheckpointError(f"{source}: card.planning.planner.name must be a text, got {planner!r}")


def require_same_model(config: Mapping[str, Any], weights: WeightsFile, source: Path) -> None:
    """Raise a CheckpointError where config.json describes another model than the copy in the weights file does."""
    if weights.config is None:
        return
    for section in ("architecture", "spec"):
        ours, theirs = config[section], weights.config.get(section)
        if ours != theirs:
            theirs = theirs if isinstance(theirs, dict) else {}
            key = next(key for key in [*ours, *theirs] if [ours.get(key, ...)] != [theirs.get(key, ...)])
            raise CheckpointError(
                f"{source} and the header of {weights.path} differ in {section}.{key}: the file is damaged or was "
                "edited (take weights_sha256 out of it to load it as it is)"
            )


# ------------------------------------------------------------------ checks of tensors


def require_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    """Raise a CheckpointError that names the first tensor with numbers that are not finite."""
    import torch

    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{source} holds numbers that are not finite, in {name}")
