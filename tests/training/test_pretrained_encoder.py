"""World models on encoders that were pretrained without actions."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
import torch

import wmplan
from wmplan.errors import UserError
from wmplan.models import JEPA, load_pretrained
from wmplan.models.encoders import TokenEncoder
from wmplan.models.video_jepa import ViTConfig
from wmplan.training.config import StageConfig, TrainConfig
from wmplan.training.pretraining.config import PretrainConfig
from wmplan.training.pretraining.pretrain import pretrain
from wmplan.training.train import train

SIZES = ViTConfig(width=24, depth=1, heads=2, predictor_width=12, predictor_depth=1, predictor_heads=2)


@pytest.fixture
def config(tiny: TrainConfig, tmp_path: Path, write_public: Callable[..., Path]) -> TrainConfig:
    """Of a run on a pretrained encoder in tmp_path/encoder."""
    write_public("data.h5", [70, 70, 70])
    pretrain(PretrainConfig(tiny.data, str(tmp_path / "encoder"), vit=SIZES, steps=2, batch_size=8, threads=1))
    none = StageConfig(0, 1, 1.0)
    return replace(tiny, pretrained=str(tmp_path / "encoder"), encoder_options={}, critic=none, decoder=none)


def transformer(model: JEPA) -> dict[str, torch.Tensor]:
    encoder = model.encoder[0]
    assert isinstance(encoder, TokenEncoder)
    return encoder.vit.state_dict()


def test_a_frozen_encoder_stays_as_it_is_and_its_state_is_read(config: TrainConfig) -> None:
    model = train(config)
    pretrained = load_pretrained(config.pretrained or "", "cpu").used.state_dict()
    assert all(torch.equal(one, pretrained[name]) for name, one in transformer(model).items())
    assert not (Path(config.out) / "joint.jsonl").exists()
    with h5py.File(config.data) as file, torch.no_grad():
        latents = model.encode_visual(torch.from_numpy(file["pixels"][:][None]))[0]
    torch.testing.assert_close(latents.std(0), torch.ones(6), rtol=0.2, atol=0)
    card = json.loads((Path(config.out) / "model" / "config.json").read_text())
    assert card["architecture"]["encoder"] == "token_vit" and card["architecture"]["encoder_options"]["width"] == 24
    again = wmplan.load(config.out, "cpu")
    frames = torch.zeros(1, 2, 32, 32, 3, dtype=torch.uint8)
    torch.testing.assert_close(again.encode(frames), model.eval().encode(frames))


def test_a_run_goes_on_with_the_same_latents(config: TrainConfig) -> None:
    first = {name: tensor.clone() for name, tensor in train(config).state_dict().items()}
    for left in ("latents.npy", "dynamics.checkpoint.pt"):
        (Path(config.out) / left).unlink()
    assert all(torch.equal(one, first[name]) for name, one in train(config).state_dict().items())


def test_a_pretrained_encoder_may_be_trained_on(config: TrainConfig) -> None:
    model = train(replace(config, train_encoder=True))
    pretrained = load_pretrained(config.pretrained or "", "cpu").used.state_dict()
    assert not torch.equal(transformer(model)["embed.weight"], pretrained["embed.weight"])
    assert (Path(config.out) / "joint.jsonl").exists()


def test_what_does_not_fit(config: TrainConfig, write_public: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="dynamics.steps must be at least 1: .* without a predictor"):
        train(replace(config, dynamics=StageConfig(0, 1, 1.0)))
    larger = write_public("larger.h5", [70, 70, 70], size=48)
    with pytest.raises(UserError, match=r"takes frames of \(32, 32\), the data has \(48, 48\)"):
        train(replace(config, data=str(larger)))
    with pytest.raises(UserError, match="train_encoder needs pretrained=MODEL"):
        replace(config, pretrained=None, train_encoder=True)
