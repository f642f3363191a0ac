import pytest
import torch

from wmplan.models.encoders import make_encoder

SMALL = {
    "keypoint": {"channels": (4,), "keypoints": 3},
    "impala": {"channels": (4, 4), "hidden": 8},
    "vit": {"patch": 8, "width": 12, "depth": 1, "heads": 2},
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("image_size", [(16, 24), (32, 16)])
def test_a_frame_of_any_shape_to_a_latent(name, image_size):
    encoder = make_encoder(name, image_size, 5, **SMALL[name])
    frames = torch.randint(0, 256, (3, *image_size, 3), dtype=torch.uint8)
    kept = frames.clone()
    latents = encoder(frames)
    assert latents.shape == (3, 5) and latents.dtype == torch.float32
    assert torch.equal(frames, kept)
    latents.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in encoder.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_a_latent_depends_on_its_own_frame_only(name):
    encoder = make_encoder(name, (16, 16), 5, **SMALL[name])
    frames = torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8)
    with torch.no_grad():
        together = encoder.train()(frames)
        torch.testing.assert_close(together[1:2], encoder(frames[1:2]))
        assert not torch.allclose(together[1], together[2])


@pytest.mark.parametrize("name", SMALL)
def test_runs_in_the_type_of_its_weights(name):
    encoder = make_encoder(name, (16, 16), 5, **SMALL[name]).double()
    assert encoder(torch.zeros(1, 16, 16, 3, dtype=torch.uint8)).dtype == torch.float64


@pytest.mark.parametrize(("option", "value"), [("patch", 5), ("heads", 5)])
def test_vit_names_what_does_not_divide(option, value):
    with pytest.raises(ValueError, match=f"{option} is {value}, it has to divide"):
        make_encoder("vit", (16, 16), 5, **{**SMALL["vit"], option: value})
