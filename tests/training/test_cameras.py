"""Training on several cameras: each is told from the others by its name, and one camera is trained as ever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from wmplan.control import make_controller
from wmplan.data import open_data
from wmplan.errors import UserError
from wmplan.models import load
from wmplan.training.config import StageConfig, TrainConfig
from wmplan.training.train import train
from wmplan.validation.recordings import record


def two_cameras(columns: dict[str, Any]) -> None:
    """The frames of write_public() as those of the front camera, and others of a wrist's."""
    columns["front"] = columns.pop("pixels")
    columns["wrist"] = np.random.default_rng(5).integers(0, 255, columns["front"].shape, np.uint8)


@pytest.fixture
def two(write_public: Callable[..., Path], tiny: TrainConfig) -> TrainConfig:
    """Settings of a run on two cameras."""
    write_public("data.h5", [70, 70, 70], two_cameras)
    return replace(tiny, cameras=("front", "wrist"))


@pytest.mark.parametrize("sharing", ["own", "shared"])
def test_a_model_of_two_cameras_is_trained_saved_and_plans_by_their_names(
    two: TrainConfig, sharing: Any, tmp_path: Path
) -> None:
    train(replace(two, camera_encoders=sharing))
    model: Any = load(tmp_path / "run" / "model")
    assert model.spec.cameras == ("front", "wrist")
    assert model.card["training"]["camera_encoders"] == sharing
    assert len(model.encoder) == (2 if sharing == "own" else 1)
    store = open_data(two.data, cameras=two.cameras)
    rows = store.episode(0)
    seen = {name: torch.from_numpy(rows[name][:3])[None] for name in ("front", "wrist")}
    latents = model.encode_visual(seen)[0]  # (3, D)
    swapped = model.encode_visual({"front": seen["wrist"], "wrist": seen["front"]})[0]
    half = latents.shape[1] // 2
    same = torch.allclose(swapped, torch.cat([latents[:, half:], latents[:, :half]], -1), atol=1e-6)
    assert same == (sharing == "shared")  # one encoder sees both alike; two were drawn apart
    controller = make_controller(model, planner="realtime")
    controller.reset({name: rows[name][50] for name in ("front", "wrist")}, seeds=0)
    action = controller.act({"front": rows["front"][0], "wrist": rows["wrist"][0], "proprio": rows["proprio"][0]})
    assert np.isfinite(action).all()
    with pytest.raises(ValueError, match="wrist"):
        controller.act({"front": rows["front"][0], "proprio": rows["proprio"][0]})
    recordings = record(model, store, [0, 1], 2)
    proprio = torch.from_numpy(rows["proprio"][:1])[None]
    first = {name: torch.from_numpy(rows[name][:1])[None] for name in ("front", "wrist")}
    torch.testing.assert_close(recordings.recordings[0].latents[0], model.encode(first, proprio)[0, 0])


def test_the_weights_of_one_camera_do_not_depend_on_how_it_is_chosen(
    write_public: Callable[..., Path], tiny: TrainConfig, tmp_path: Path
) -> None:
    write_public("data.h5", [70, 70, 70])
    write_public("named.h5", [70, 70, 70], two_cameras)
    none = StageConfig(0, 1, 1.0)
    config = replace(tiny, critic=none, decoder=none)
    train(config)
    train(replace(config, data=str(tmp_path / "named.h5"), out=str(tmp_path / "named"), cameras=("front",)))
    one, other = (load_file(tmp_path / run / "model" / "weights.safetensors") for run in ("run", "named"))
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    assert load(tmp_path / "named" / "model").spec.cameras == ("front",)


def test_cameras_that_are_not_there_or_of_another_size_are_told(
    write_public: Callable[..., Path], tiny: TrainConfig
) -> None:
    def edit(columns: dict[str, Any]) -> None:
        two_cameras(columns)
        columns["wrist"] = columns["wrist"][:, :16, :16]

    write_public("data.h5", [70, 70, 70], edit)
    with pytest.raises(UserError, match=r"there is no column 'pixels' .*; set cameras=\[front,wrist\]"):
        train(tiny)
    with pytest.raises(UserError, match="has no camera 'side'; it has front, wrist"):
        train(replace(tiny, cameras=("front", "side")))
    with pytest.raises(UserError, match=r"'wrist' has frames of \(16, 16\), 'front' of \(32, 32\): bring them to one"):
        train(replace(tiny, cameras=("front", "wrist")))
    with pytest.raises(UserError, match="no name twice"):
        replace(tiny, cameras=("front", "front"))
