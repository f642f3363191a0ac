"""The joint stage multiplies in bfloat16 with any predictor, and its losses stay in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wmplan.training.config import StageConfig, TrainConfig
from wmplan.training.train import train


@pytest.mark.parametrize(
    ("predictor", "options"), [("mlp", {"width": 16, "depth": 1}), ("hidden_state", {"hidden": 8, "width": 16})]
)
def test_one_stage_in_bfloat16(
    predictor: str, options: dict[str, Any], tiny: TrainConfig, write_public: Callable[..., Path]
) -> None:
    """Without a dynamics stage the model's own predictor is trained here."""
    write_public("data.h5", [70, 70, 70])
    none = StageConfig(0, 1, 1.0)
    own = {"predictor": predictor, "predictor_options": options, "joint_predictor": None}
    model = train(replace(tiny, **own, dynamics=none, critic=none, decoder=none, bfloat16=True))
    assert all(weights.dtype.itemsize == 4 for weights in model.parameters())
