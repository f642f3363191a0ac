"""Frozen encoders of transformers, on tiny random models saved in the real format."""

import pytest
import torch

from wmplan.errors import UserError
from wmplan.models import JEPA, JEPAConfig, ModelSpec, load, save
from wmplan.models.encoders.hf import HFEncoder, PatchTokens
from wmplan.models.sizing import build_to_train

transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}


def tiny(kind):
    torch.manual_seed(0)
    if kind == "dinov2":
        return transformers.Dinov2Model(transformers.Dinov2Config(**SIZES))
    if kind == "dinov3":
        config = transformers.DINOv3ViTConfig(**SIZES, intermediate_size=48, num_register_tokens=2)
        return transformers.DINOv3ViTModel(config)
    if kind == "ijepa":
        return transformers.IJepaModel(transformers.IJepaConfig(**SIZES, intermediate_size=48))
    config = transformers.VJEPA2Config(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        crop_size=56,
        patch_size=14,
        frames_per_clip=4,
        pred_hidden_size=24,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=1,
    )
    return transformers.VJEPA2Model(config)


@pytest.fixture
def folder(tmp_path, request):
    tiny(request.param).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("folder", ["dinov2", "dinov3", "ijepa", "vjepa2"], indirect=True)
def test_features_are_those_of_the_library(folder):
    frames = torch.randint(0, 256, (3, 56, 56, 3), dtype=torch.uint8)
    encoder = HFEncoder((56, 56), 24, name=str(folder), pool="mean", offline=True).train()
    assert not any(module.training for module in encoder.tokens.modules())
    assert not any(p.requires_grad for p in encoder.parameters())
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    images = ((frames / 255 - mean) / std).movedim(-1, 1)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        if model.config.model_type == "vjepa2":
            tokens = model.get_vision_features(images[:, None].expand(-1, 2, -1, -1, -1))
        else:
            tokens = model(images).last_hidden_state
    assert torch.allclose(encoder(frames), tokens[:, -16:].mean(1), atol=1e-5)
    assert encoder(frames).requires_grad is False
    assert PatchTokens(str(folder))(images).shape == (3, 16, 24)


@pytest.mark.parametrize("folder", ["dinov2"], indirect=True)
def test_pools_and_other_sizes(folder):
    frames = torch.randint(0, 256, (2, 40, 60, 3), dtype=torch.uint8)
    grid = HFEncoder((40, 60), 24 * 4, name=str(folder), pool="grid", grid=2, size=84)(frames)
    mean = HFEncoder((40, 60), 24, name=str(folder), pool="mean", size=84)(frames)
    assert torch.allclose(grid.unflatten(1, (4, 24)).mean(1), mean, atol=1e-5)
    assert not torch.allclose(HFEncoder((40, 60), 24, name=str(folder), size=84)(frames), mean, atol=1e-3)


@pytest.mark.parametrize("folder", ["dinov2"], indirect=True)
def test_what_does_not_fit_is_named(folder, tmp_path):
    with pytest.raises(UserError, match="latent_dim is 32, .* gives 24"):
        HFEncoder((56, 56), 32, name=str(folder))
    with pytest.raises(UserError, match="multiple of 14"):
        HFEncoder((56, 56), 24, name=str(folder), size=60)
    with pytest.raises(UserError, match="no encoder 'no/such-model' in the cache"):
        HFEncoder((56, 56), 24, name="no/such-model", offline=True)


@pytest.mark.parametrize("folder", ["dinov2"], indirect=True)
def test_a_model_with_a_frozen_encoder_is_saved_and_loaded(folder, tmp_path):
    spec = ModelSpec((56, 56), 1, 1, (-1.0,), (1.0,), (0.0,), (1.0,), (24,))
    config = JEPAConfig(encoder="hf", encoder_options={"name": str(folder), "offline": True}, latent_dim=24)
    model = build_to_train(lambda: JEPA(config, spec)).eval()
    with torch.no_grad():
        model.encoder[0].tokens.model.embeddings.cls_token += 1  # fine-tuned, as it were
    save(model, tmp_path / "saved", {})
    frames = torch.randint(0, 256, (1, 1, 56, 56, 3), dtype=torch.uint8)
    assert torch.equal(load(tmp_path / "saved", "cpu").encode(frames), model.encode(frames))


@pytest.mark.parametrize("folder", ["dinov2"], indirect=True)
@pytest.mark.parametrize(
    "content", ["[1]", '{"image_mean": 5}', '{"image_mean": [1, 2]}', '{"image_std": ["a", 1, 2]}', "{"]
)
def test_a_broken_preprocessor_is_named(folder, content):
    (folder / "preprocessor_config.json").write_text(content)
    with pytest.raises(UserError, match="preprocessor_config.json"):
        HFEncoder((56, 56), 24, name=str(folder))


@pytest.mark.parametrize("folder", ["dinov2"], indirect=True)
def test_cut_weights_are_named(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-100])
    with pytest.raises(UserError, match="there is no encoder"):
        HFEncoder((56, 56), 24, name=str(folder))
