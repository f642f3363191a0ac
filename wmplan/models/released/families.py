"""The families by the name that configurations have for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wmplan.models.base import ModelSpec, WorldModel
from wmplan.models.released.dino_wm import DinoWM
from wmplan.models.released.frame_causal import FrameCausalModel
from wmplan.models.released.jepa_wm import JepaWM
from wmplan.models.released.lewm import LeWM
from wmplan.models.released.vjepa2_ac import VJepa2AC

FAMILIES: dict[str, type[FrameCausalModel]] = {model.kind: model for model in (LeWM, DinoWM, JepaWM, VJepa2AC)}


def build(architecture: Mapping[str, Any], spec: ModelSpec) -> WorldModel | None:
    """A model without weights from a configuration in our form, None when its kind is no family here."""
    family = FAMILIES.get(str(architecture.get("kind")))
    return family.build(architecture, spec) if family else None
