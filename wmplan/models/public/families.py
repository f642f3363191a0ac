"""The families by the name that configurations have for them."""

from __future__ import annotations

from wmplan.models.public.dino_wm import DinoWM
from wmplan.models.public.frame_causal import FrameCausalModel
from wmplan.models.public.jepa_wm import JepaWM
from wmplan.models.public.lewm import LeWM
from wmplan.models.public.vjepa2_ac import VJepa2AC

FAMILIES: dict[str, type[FrameCausalModel]] = {model.kind: model for model in (LeWM, DinoWM, JepaWM, VJepa2AC)}
