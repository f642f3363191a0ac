"""Other labs' world models: LeWM, DINO-WM, JEPA-WM and V-JEPA 2-AC.

wmplan.models.loading asks recognise() for a path that is not in our form, and build() for a configuration in it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wmplan.models.base import ModelSpec, WorldModel
from wmplan.models.public.families import FAMILIES
from wmplan.models.public.importer import ImportOptions, import_checkpoint, told_spec
from wmplan.models.public.known import ENCODERS, PRESETS
from wmplan.models.public.release import open_release

__all__ = ["FAMILIES", "build", "import_checkpoint", "recognise"]


def build(architecture: Mapping[str, Any], spec: ModelSpec) -> WorldModel | None:
    """A model without weights from a configuration in our form, None when its kind is no family here."""
    family = FAMILIES.get(str(architecture.get("kind")))
    return family.build(architecture, spec) if family else None


def recognise(path: Path) -> WorldModel | None:
    """The model in another lab's file or folder, None when it is of no family here.

    Bounds, rate and, mostly, statistics are in no release. What is not published is taken as normalised, with a
    warning: `wmplan import` asks for it.

    Raises:
        CheckpointError: when the checkpoint is damaged, or its tensors do not fit together.
    """
    release = open_release(path)
    if release is None:
        return None
    family, preset = FAMILIES[release.kind], PRESETS[release.kind]
    bare = family.build(release.architecture).spec
    if release.kind == "vjepa2_ac":
        spec = told_spec(bare, ImportOptions(control_rate=4.0), release, preset)  # trained on 4 frames a second
    else:
        spec = bare
        warnings.warn(
            f"{release.path.name} does not say its robot's action bounds and statistics: actions and robot state are "
            f"taken as normalised. `wmplan import {release.path} out=DIR action_low=... action_high=...` tells them.",
            stacklevel=3,
        )
    architecture = dict(release.architecture)
    if hasattr(family, "attach"):
        architecture.setdefault("visual_encoder", ENCODERS.get(architecture["enc_dim"]))
    model = family.from_state_dict(release.tensors, architecture, spec)
    model.card = {"name": release.path.stem, "family": family.family, "licence": preset.licence}
    model.card["planning"] = preset.planning()
    return model
