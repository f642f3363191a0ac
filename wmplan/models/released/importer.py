"""Another lab's checkpoint into our form, with what its release leaves out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from wmplan.errors import UserError
from wmplan.models.base import ModelSpec, WorldModel
from wmplan.models.checkpoint import is_ours, open_checkpoint, save
from wmplan.models.errors import CheckpointError
from wmplan.models.reading import read_json, readable
from wmplan.models.released.families import FAMILIES
from wmplan.models.released.hub import is_hub, local_path
from wmplan.models.released.known import ENCODERS, PRESETS, STATISTICS, Preset, known_statistics
from wmplan.models.released.release import Release, describe_unknown, open_release, weights_file
from wmplan.models.sizing import build_within, shapes_of
from wmplan.models.weights_file import file_sha256
from wmplan.settings.build import build
from wmplan.settings.suggest import did_you_mean


@dataclass(frozen=True)
class ImportOptions:
    """What a release leaves out; everything in the robot's units and for one robot step.

    Attributes:
        action_low, action_high: bounds.
        action_mean, action_std: normaliser of the training data.
        proprio_mean, proprio_std: normaliser of the robot's state.
        control_rate: robot steps in a second.
        action_block: robot steps in one model step; worked out from the sizes when left out.
        cameras: names of the frames; these models see one.
        image_size: (height, width) of the camera's frames; the model's own square when left out.
        statistics: a task whose published statistics are taken: pusht, metaworld, pointmaze or wall.
        encoder: name or folder of the frozen visual encoder in transformers; that of the release when left out.
        architecture: sizes that are known better than what the file says, or a JSON file of them.
        name: what the card calls the model.
        prefix: which model of a training checkpoint that holds several, such as "ema"; "." for the one that no key
            stands before.
    """

    action_low: tuple[float, ...] | None = None
    action_high: tuple[float, ...] | None = None
    action_mean: tuple[float, ...] | None = None
    action_std: tuple[float, ...] | None = None
    proprio_mean: tuple[float, ...] | None = None
    proprio_std: tuple[float, ...] | None = None
    control_rate: float | None = None
    action_block: int | None = None
    cameras: tuple[str, ...] | None = None
    image_size: tuple[int, int] | None = None
    statistics: str | None = None
    encoder: str | None = None
    architecture: Mapping[str, Any] | str | None = None
    name: str | None = None
    prefix: str | None = None

    @classmethod
    def from_mapping(cls, options: Mapping[str, Any]) -> ImportOptions:
        """From plain settings; lists become tuples, and one number a tuple of it.

        Raises:
            UserError: naming the option that is unknown or no number.
        """
        known = [field.name for field in fields(cls)]
        values: dict[str, Any] = {}
        for name, value in options.items():
            if name not in known:
                raise UserError(f"import has no option {name!r}; {did_you_mean(name, known)}")
            if value is not None and name.split("_")[0] in ("action", "proprio") and name != "action_block":
                value = numbers(name, value)
            elif name == "cameras" and isinstance(value, str):
                value = (value,)
            values[name] = value
        if values.get("statistics") not in (None, *STATISTICS):
            raise UserError(f"statistics must be one of {', '.join(STATISTICS)}, got {values['statistics']!r}")
        return build(cls, values)

    def sizes(self) -> dict[str, Any]:
        """The architecture given, read from its file where it is a file's name."""
        if self.architecture is None:
            return {}
        if isinstance(self.architecture, Mapping):
            return dict(self.architecture)
        try:
            content = read_json(Path(self.architecture))
        except CheckpointError as error:
            raise UserError(f"architecture={self.architecture} cannot be read as JSON: {error}") from error
        sizes = content.get("architecture", content) if isinstance(content, dict) else content
        if not isinstance(sizes, dict):
            raise UserError(f"architecture={self.architecture} must hold the names of sizes and their values")
        return sizes


def numbers(name: str, value: Any) -> tuple[float, ...]:
    """A setting as a tuple of numbers."""
    try:
        return tuple(float(x) for x in value) if not isinstance(value, int | float) else (float(value),)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name} must be a list of numbers, got {value!r}") from error


def import_checkpoint(path: str | Path, out: str | Path, options: Mapping[str, Any] | None = None) -> Path:
    """Write another lab's checkpoint as safetensors and JSON into the folder `out`.

    Args:
        path: a file or folder of a release, or hf://org/name.
        out: the folder to write.
        options: see ImportOptions.

    Returns:
        The folder.

    Raises:
        UserError: naming what is wrong with the file, an unknown option, or all options that are missing at once.
    """
    chosen = ImportOptions.from_mapping(options or {})
    source = local_path(str(path)) if is_hub(path) else Path(path)
    with readable(source):
        if not source.exists():
            raise UserError(f"there is no file or folder {str(path)!r} to import")
        if is_ours(source):
            open_checkpoint(source)  # which checks it
        release = open_release(source, chosen.sizes(), chosen.prefix)
    if release is None:
        families = ", ".join(family.family for family in FAMILIES.values())
        holds = f": {describe_unknown(source)}" if weights_file(source) else ""
        raise CheckpointError(f"{source} holds no checkpoint of {families}{holds}")
    family, preset = FAMILIES[release.kind], PRESETS[release.kind]
    spec = told_spec(bare_spec(release), chosen, release, preset)
    architecture = dict(release.architecture)
    if hasattr(family, "attach"):
        width = architecture["enc_dim"]
        architecture["visual_encoder"] = chosen.encoder or architecture.get("visual_encoder") or ENCODERS.get(width)
    with naming(release.path):
        model = family.from_state_dict(release.tensors, architecture, spec)
    card = {
        "name": chosen.name or Path(out).name,
        "family": family.family,
        "licence": preset.licence,
        "source": {"file": release.path.name, "sha256": file_sha256(release.path)},
        "planning": preset.planning(),
    }
    save(model, out, card)
    return Path(out)


def as_released(release: Release) -> WorldModel:
    """The model of a release as it is. What is not published is taken as normalised, with a warning."""
    family, preset = FAMILIES[release.kind], PRESETS[release.kind]
    bare = bare_spec(release)
    if release.kind == "vjepa2_ac":
        spec = told_spec(bare, ImportOptions(control_rate=4.0), release, preset)  # trained on 4 frames a second
    else:
        spec = bare
        warnings.warn(
            f"{release.path.name} does not say its robot's action bounds and statistics: actions and robot state are "
            f"taken as normalised. `wmplan import {release.path} out=DIR action_low=... action_high=...` tells them.",
            stacklevel=4,
        )
    architecture = dict(release.architecture)
    if hasattr(family, "attach"):
        architecture.setdefault("visual_encoder", ENCODERS.get(architecture["enc_dim"]))
    with (
        naming(release.path),
        torch.inference_mode(False),
    ):  # weights made in it do not tell when they change, and are packed for no one
        model = family.from_state_dict(release.tensors, architecture, spec)
    model.card = {"name": release.path.stem, "family": family.family, "licence": preset.licence}
    model.card["planning"] = preset.planning()
    return model


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Have a CheckpointError say which file it is about."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from error


def bare_spec(release: Release) -> ModelSpec:
    """What the sizes of a release say of its spec, actions and robot state taken as normalised."""
    family = FAMILIES[release.kind]
    shapes = shapes_of(release.tensors)
    with naming(release.path):
        return build_within(lambda: family.build(release.architecture), shapes, "it").spec


def told_spec(bare: ModelSpec, options: ImportOptions, release: Release, preset: Preset) -> ModelSpec:
    """The spec from the sizes, the options, and what is published of this release.

    Raises:
        UserError: naming all that is missing, or an option of the wrong length.
    """
    found = asdict(known) if (known := statistics_of(options, release)) else {}
    if release.kind == "vjepa2_ac":  # differences of poses, as they are
        zeros, ones = (0.0,) * bare.action_dim, (1.0,) * bare.action_dim
        found = {"action_mean": zeros, "action_std": ones, "proprio_mean": zeros, "proprio_std": ones}
        found |= {"action_low": preset.action_low, "action_high": preset.action_high}
    needed = ["action_low", "action_high", "action_mean", "action_std", "control_rate"]
    needed += ["proprio_mean", "proprio_std"] if bare.proprio_dim else []
    told = {name: value for name in needed if (value := getattr(options, name)) is not None}
    values = {name: found[name] for name in needed if name in found} | told
    if missing := [name for name in needed if name not in values]:
        raise UserError(
            f"the release does not say {', '.join(missing)}: give {' '.join(f'{name}=...' for name in missing)}"
        )
    steps = len(values["action_low"])
    block = options.action_block or max(1, bare.block_dim // steps)
    if block * steps != bare.block_dim:
        raise UserError(
            f"the model takes {bare.block_dim} action numbers a step: {block} robot steps of {steps} numbers do not fit"
        )
    cameras = options.cameras or bare.cameras
    if len(cameras) != 1:
        raise UserError(f"cameras are {', '.join(cameras)}, these models see one")
    try:
        return ModelSpec(
            image_size=options.image_size or bare.image_size,
            history=bare.history,
            action_block=block,
            latent_shape=bare.latent_shape,
            proprio_dim=bare.proprio_dim,
            cameras=cameras,
            **values,
        )
    except ValueError as error:
        raise UserError(f"options do not fit: {error}") from error


def statistics_of(options: ImportOptions, release: Release) -> Any:
    """Published statistics: those of the task that is named, or that the file is called after."""
    if options.statistics is not None:
        return STATISTICS[options.statistics]
    known = known_statistics(release.path) if release.kind in ("dino_wm", "jepa_wm") else None
    return known[1] if known else None
