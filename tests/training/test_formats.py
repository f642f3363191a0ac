"""The weights of a model do not depend on the format that its data was recorded in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from wmplan.data.conversion import convert_data
from wmplan.training.config import TrainConfig
from wmplan.training.train import train


@pytest.mark.parametrize("video", ["lossless", "images"])
def test_the_same_weights_from_lerobots_format_as_from_ours(
    video: Any, write_public: Callable[..., Path], tiny: TrainConfig, tmp_path: Path
) -> None:
    pytest.importorskip("av")
    source = str(write_public("data.h5", [70, 70, 70]))
    convert_data(source, str(tmp_path / "shards"), control_rate=10)
    convert_data(source, str(tmp_path / "lerobot"), "lerobot", control_rate=10, video=video)
    convert_data(str(tmp_path / "lerobot"), str(tmp_path / "back"))
    weights = {}
    for name in ("shards", "lerobot", "back"):
        config = replace(tiny, data=str(tmp_path / name), out=str(tmp_path / f"run_{name}"), control_rate=None)
        train(config)
        weights[name] = load_file(tmp_path / f"run_{name}" / "model" / "weights.safetensors")
    assert len(weights["shards"]) > 10
    for name in ("lerobot", "back"):
        assert weights[name].keys() == weights["shards"].keys()
        for key, value in weights["shards"].items():
            np.testing.assert_array_equal(weights[name][key], value, err_msg=f"{key} from {name}")
