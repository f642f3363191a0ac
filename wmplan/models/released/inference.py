"""Sizes of a released model, read off its tensors.

What tensors do not show takes the value of the releases: heads of 64 channels (JEPA-WM: 16 heads), and image sizes.
Whatever is known better (a config.json or hydra.yaml beside the file, an option) goes over it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from wmplan.models.errors import CheckpointError

Shapes = Mapping[str, tuple[int, ...]]
HEAD = 64
IMAGE = 224
JEPA_WM_HEADS = 16


def infer(kind: str, shapes: Shapes) -> dict[str, Any]:
    """The architecture of a family from its tensors' shapes, under the field names of the fixtures' config.json.

    Raises:
        CheckpointError: when a tensor is missing that a size would be read from.
    """
    try:
        return INFER[kind](shapes)
    except (KeyError, IndexError, ValueError, TypeError, ArithmeticError) as error:
        raise CheckpointError(
            f"the tensors look like {kind}, but its sizes cannot be read off them: {error}"
        ) from error


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`under` with what `over` says, section by section."""
    merged = dict(under)
    for name, value in over.items():
        inner = merged.get(name)
        merged[name] = merge(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return merged


def count(shapes: Shapes, pattern: str) -> int:
    """How many layers there are: one more than the largest number that `pattern` finds."""
    found = [int(match.group(1)) for name in shapes if (match := re.match(pattern, name))]
    return 1 + max(found, default=-1)


def lewm(shapes: Shapes) -> dict[str, Any]:
    hidden = shapes["encoder.embeddings.cls_token"][2]
    patch = shapes["encoder.embeddings.patch_embeddings.projection.weight"][2]
    patches = shapes["encoder.embeddings.position_embeddings"][1] - 1
    frames, width = shapes["predictor.pos_embedding"][1:]
    layer = "predictor.transformer.layers.0."
    inner = shapes[f"{layer}attn.to_qkv.weight"][0] // 3
    own = shapes["predictor.transformer.norm.weight"][0]
    output = shapes.get("predictor.transformer.output_proj.weight", (own,))[0]
    return {
        "image_size": patch * round(patches**0.5),
        "patch_size": patch,
        "encoder": {
            "hidden_size": hidden,
            "depth": count(shapes, r"encoder\.encoder\.layer\.(\d+)\."),
            "num_heads": max(1, hidden // HEAD),
            "intermediate_size": shapes["encoder.encoder.layer.0.intermediate.dense.weight"][0],
        },
        "projector": projector(shapes, "projector", hidden, width),
        "pred_proj": projector(shapes, "pred_proj", output, width),
        "action_encoder": {
            "input_dim": shapes["action_encoder.patch_embed.weight"][1],
            "smoothed_dim": shapes["action_encoder.patch_embed.weight"][0],
            "mlp_scale": shapes["action_encoder.embed.0.weight"][0] // width,
        },
        "predictor": {
            "num_frames": frames,
            "input_dim": width,
            "hidden_dim": own,
            "output_dim": output,
            "depth": count(shapes, r"predictor\.transformer\.layers\.(\d+)\."),
            "heads": max(1, inner // HEAD),
            "dim_head": min(HEAD, inner),
            "mlp_dim": shapes[f"{layer}mlp.net.1.weight"][0],
        },
    }


def projector(shapes: Shapes, name: str, inputs: int, outputs: int) -> dict[str, Any]:
    """Sizes of a projector and its norm, which its tensors show; no sizes where there is none."""
    if f"{name}.net.0.weight" not in shapes:
        return {"dims": []}
    batch, layer = f"{name}.net.1.running_mean" in shapes, f"{name}.net.1.weight" in shapes
    return {
        "dims": [inputs, shapes[f"{name}.net.0.weight"][0], outputs],
        "norm": "batch" if batch else "layer" if layer else "none",
    }


def dino_wm(shapes: Shapes) -> dict[str, Any]:
    positions, width = shapes["predictor.pos_embedding"][1:]
    action_emb, action_dim = shapes["action_encoder.patch_embed.weight"][:2]
    proprio_emb, proprio_dim = shapes.get("proprio_encoder.patch_embed.weight", (0, 0))[:2]
    patches = next(number for number in (196, 256, positions) if positions % number == 0)
    inner = shapes["predictor.transformer.layers.0.0.to_qkv.weight"][0] // 3
    return {
        "enc_dim": width - action_emb - proprio_emb,
        "num_patches": patches,
        "num_hist": positions // patches,
        "action_dim": action_dim,
        "action_emb_dim": action_emb,
        "proprio_dim": proprio_dim,
        "proprio_emb_dim": proprio_emb,
        "image_size": IMAGE,
        "encoder_image_size": 14 * round(patches**0.5),  # DINOv2's patches have 14 pixels
        "predictor": {
            "depth": count(shapes, r"predictor\.transformer\.layers\.(\d+)\."),
            "heads": max(1, inner // HEAD),
            "dim_head": min(HEAD, inner),
            "mlp_dim": shapes["predictor.transformer.layers.0.1.net.1.weight"][0],
        },
    }


def jepa_wm(shapes: Shapes) -> dict[str, Any]:
    width, visual = shapes["predictor.predictor_embed.weight"]
    proprio_emb, proprio_dim = shapes.get("proprio_encoder.patch_embed.weight", (0, 0))[:2]
    droid = visual == 1024  # DINOv3 ViT-L, patches of 16 pixels
    return {
        "img_size": 256 if droid else IMAGE,
        "patch_size": 16 if droid else 14,
        "grid_height": 16,
        "grid_width": 16,
        "enc_dim": visual,
        "action_dim": shapes["predictor.action_encoder.weight"][1],
        "proprio_dim": proprio_dim,
        "proprio_emb_dim": proprio_emb,
        "ctxt_window": 2,
        "predictor": {
            "pred_embed_dim": width,
            "depth": count(shapes, r"predictor\.predictor_blocks\.(\d+)\."),
            "num_heads": JEPA_WM_HEADS,
            "mlp_hidden_dim": shapes["predictor.predictor_blocks.0.mlp.fc1.weight"][0],
        },
    }


def vjepa2_ac(shapes: Shapes) -> dict[str, Any]:
    encoder_width, _, tubelet, patch, _ = shapes["encoder.patch_embed.proj.weight"]
    width = shapes["predictor.predictor_embed.weight"][0]
    return {
        "img_size": 256,
        "patch_size": patch,
        "tubelet_size": tubelet,
        "num_frames": 64,
        "encoder": {
            "embed_dim": encoder_width,
            "depth": count(shapes, r"encoder\.blocks\.(\d+)\."),
            "num_heads": max(1, encoder_width // HEAD),
            "mlp_hidden_dim": shapes["encoder.blocks.0.mlp.fc1.weight"][0],
        },
        "predictor": {
            "predictor_embed_dim": width,
            "depth": count(shapes, r"predictor\.predictor_blocks\.(\d+)\."),
            "num_heads": max(1, width // HEAD),
            "mlp_hidden_dim": shapes["predictor.predictor_blocks.0.mlp.fc1.weight"][0],
            "extrinsics_dim": shapes["predictor.extrinsics_encoder.weight"][1],
        },
    }


INFER: dict[str, Callable[[Shapes], dict[str, Any]]] = {
    "lewm": lewm,
    "dino_wm": dino_wm,
    "jepa_wm": jepa_wm,
    "vjepa2_ac": vjepa2_ac,
}
