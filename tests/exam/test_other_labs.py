"""Other labs' models, at random weights in their released layouts, and frozen encoders of transformers sit the exam."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from wmplan.exam.examine import physics
from wmplan.exam.world_model import WorldModelSubject
from wmplan.models import JEPA, JEPAConfig, ModelSpec, WorldModel
from wmplan.models.released.families import FAMILIES
from wmplan.models.released.patch_latents import PatchLatentModel
from wmplan.models.sizing import build_to_train

FIXTURES = Path(__file__).parents[1] / "fixtures"


class Patches(nn.Module):
    """What stands for DINOv2, which no checkpoint of these holds: mean colours of 4 x 4 parts, mixed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Linear(3, width)

    def forward(self, images: Tensor) -> Tensor:
        mixed: Tensor = self.mix(F.adaptive_avg_pool2d(images, 4).flatten(2).transpose(1, 2))
        return mixed


def released(name: str) -> WorldModel:
    folder = FIXTURES / name
    architecture = json.loads((folder / "config.json").read_text())["architecture"]
    model = FAMILIES[name].from_state_dict(load_file(folder / "weights.safetensors"), architecture)
    if isinstance(model, PatchLatentModel):
        model.attach(Patches(model.visual_dim))
    return model


def sit(model: WorldModel) -> None:
    """In small; the rows whose answers are known are right."""
    rows = physics(
        model, None, properties=["permanence"], pairs=2, choice_pairs=1, untrained_networks=0, pixel_steps=0
    )["rows"]
    assert rows["true simulator"]["mean"] == 1 and rows["identical twins"]["mean"] == 0.5
    assert 0 <= rows["model"]["mean"] <= 1 and np.isfinite(rows["model"]["permanence"]["auroc"])


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_released_model_sits_the_exam(name: str) -> None:
    sit(released(name))


@torch.inference_mode()
@pytest.mark.parametrize("name", ["dino_wm", "jepa_wm", "vjepa2_ac"])
def test_surprise_is_of_what_frames_show_alone(name: str) -> None:
    """Against the rollout asked by hand, without the last numbers, which are of the state."""
    model = released(name)
    size = model.spec.image_size
    frames = np.random.default_rng(0).integers(0, 256, (1, 30, *size, 3), dtype=np.uint8)
    subject = WorldModelSubject(model)
    window = subject.windows(30)[-1:]
    before = subject.surprise(frames, window)[0]
    assert np.isfinite(before).all() and before.min() > 0
    own = {"dino_wm": 10, "jepa_wm": 12, "vjepa2_ac": 7}[name]
    assert int(model.state_entries.sum()) == own
    (one,), spec = window, model.spec
    steps = torch.from_numpy(frames[:, : one.frames : one.stride])
    latents = model.encode(steps, torch.tensor(spec.proprio_mean).expand(1, steps.shape[1], -1)).float()
    still = torch.tensor(spec.neutral_action).repeat(spec.action_block).expand(1, steps.shape[1] - 1, -1)
    seen = one.context
    past = still[:, : seen - 1] if seen > 1 else None
    predicted = model.rollout(latents[:, :seen], still[:, None, seen - 1 :], past)[:, 0]
    wanted = (predicted - latents[:, seen:])[..., :-own].abs().mean()
    assert before[0, 0] == pytest.approx(wanted.item(), rel=1e-4)


@pytest.mark.parametrize("kind", ["dinov2", "vjepa2"])
def test_a_frozen_encoder_of_transformers_under_a_predictor_sits_the_exam(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14}
    if kind == "dinov2":
        model = transformers.Dinov2Model(transformers.Dinov2Config(**sizes, image_size=56))
    else:
        narrow = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
        model = transformers.VJEPA2Model(transformers.VJEPA2Config(**sizes, **narrow, crop_size=56, frames_per_clip=4))
    model.save_pretrained(tmp_path)
    spec = ModelSpec((56, 56), 2, 2, (-1.0,), (1.0,), (0.0,), (1.0,), (24,))
    config = JEPAConfig(
        encoder="hf", encoder_options={"name": str(tmp_path), "offline": True, "pool": "mean"}, latent_dim=24
    )
    sit(build_to_train(lambda: JEPA(config, spec)))
