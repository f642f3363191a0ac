"""Names of a ViT's tensors in the versions of transformers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

# transformers >= 5 saves the same tensors under these names (new, old)
RENAMES = (
    (re.compile(r"^encoder\.layers\.(\d+)\."), r"encoder.encoder.layer.\1."),
    (re.compile(r"\.attention\.q_proj\."), ".attention.attention.query."),
    (re.compile(r"\.attention\.k_proj\."), ".attention.attention.key."),
    (re.compile(r"\.attention\.v_proj\."), ".attention.attention.value."),
    (re.compile(r"\.attention\.o_proj\."), ".attention.output.dense."),
    (re.compile(r"\.mlp\.fc1\."), ".intermediate.dense."),
    (re.compile(r"\.mlp\.fc2\."), ".output.dense."),
)


def old_names(tensors: Mapping[str, T]) -> dict[str, T]:
    """Tensors of a model whose encoder is called "encoder", under the names of transformers < 5, whichever they had."""
    renamed = {}
    for name, tensor in tensors.items():
        if name.startswith("encoder.layers."):
            for pattern, old in RENAMES:
                name = pattern.sub(old, name)
        renamed[name] = tensor
    return renamed
