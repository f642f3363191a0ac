"""stable-worldmodel's names of tensors and sizes, turned into those of the releases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from wmplan.models.errors import CheckpointError

T = TypeVar("T")

# Its PreJEPA (DINO-WM) keeps both embeddings in one ModuleDict, and the frozen encoder in the same file.
EXTRA = {"extra_encoders.proprio.": "proprio_encoder.", "extra_encoders.action.": "action_encoder."}
# Hub names behind the short ones of its configurations; the ones that DINO-WM was trained with.
BACKBONES = {
    "dinov2_small": "facebook/dinov2-small",
    "dinov2_base": "facebook/dinov2-base",
    "dinov2_large": "facebook/dinov2-large",
    "dinov2_giant": "facebook/dinov2-giant",
    "dinov3_small": "facebook/dinov3-vits16-pretrain-lvd1689m",
}


def from_peer_names(tensors: Mapping[str, T]) -> dict[str, T]:
    """The mapping under the releases' names, in its order; other names stay.

    Raises:
        CheckpointError: when a PreJEPA embeds something beside proprioception and action, or in another order.
    """
    renamed: dict[str, T] = {}
    extras: list[str] = []
    for name, value in tensors.items():
        if name.startswith("extra_encoders."):
            if (extra := name.split(".")[1]) not in extras:
                extras.append(extra)
            for theirs, ours in EXTRA.items():
                name = ours + name.removeprefix(theirs) if name.startswith(theirs) else name
        renamed[name] = value
    if extras and extras not in (["proprio", "action"], ["action"]):
        raise CheckpointError(
            f"this PreJEPA embeds {', '.join(extras)}; proprio, action in this order or action alone can be loaded"
        )
    return renamed


def from_peer_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes in a config.json of stable-worldmodel, under the field names of the fixtures' config.json.

    Only what tensors do not show is taken from it, and only whole numbers.
    """
    predictor, encoder = (
        section if isinstance(section := config.get(name), Mapping) else {} for name in ("predictor", "encoder")
    )
    sizes: dict[str, Any] = {}
    heads = {name: predictor[name] for name in ("heads", "dim_head") if isinstance(predictor.get(name), int)}
    if heads:
        sizes["predictor"] = heads
    if isinstance(patches := predictor.get("num_patches"), int):  # a PreJEPA
        sizes["num_patches"] = patches
        if isinstance(frames := predictor.get("num_frames"), int):
            sizes["num_hist"] = frames
        if isinstance(window := config.get("history_size"), int):
            sizes["ctxt_window"] = window
        if isinstance(backbone := encoder.get("name"), str):
            sizes["visual_encoder"] = BACKBONES.get(backbone, backbone)
    elif isinstance(size := encoder.get("image_size"), int):
        sizes["image_size"] = size
    return sizes
