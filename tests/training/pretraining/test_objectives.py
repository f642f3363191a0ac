"""The objectives: what is compared with what, and where gradients flow."""

import pytest
import torch

from wmplan.models.video_jepa import ClipSpec, VideoJEPA, ViTConfig
from wmplan.training.losses import sigreg
from wmplan.training.pretraining.config import RECIPES
from wmplan.training.pretraining.masks import MaskConfig, draw_masks
from wmplan.training.pretraining.objectives import DISTANCES, MaskedPrediction, standardised

SIZES = ViTConfig(tubelet=2, width=24, depth=1, heads=2, predictor_width=12, predictor_depth=1, predictor_heads=2)


def make(objective: str) -> MaskedPrediction:
    torch.manual_seed(0)
    average = RECIPES[objective].momentum is not None
    model = VideoJEPA(ClipSpec((32, 32), 4), SIZES, target=average, projection=0 if average else 5)
    share = 0.0 if average else 0.25
    return MaskedPrediction(model, objective, RECIPES[objective].masks, sigreg_share=share)


def batch() -> dict[str, torch.Tensor]:
    return {"pixels": torch.randint(256, (6, 4, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator())}


@pytest.mark.parametrize("objective", DISTANCES)
def test_gradients_reach_all_but_the_moving_average(objective: str) -> None:
    one = make(objective)
    one.loss(batch(), torch.Generator().manual_seed(0))[0].backward()
    for name, parameter in one.named_parameters():
        moved = parameter.grad is not None and bool((parameter.grad != 0).any())
        assert moved == (".target." not in name and parameter.requires_grad), name


@pytest.mark.parametrize("objective", ["ijepa", "vjepa"])
def test_the_loss_is_of_the_hidden_tokens_of_the_average(objective: str) -> None:
    """Written out by hand from the same masks, token by token."""
    one, clips = make(objective), batch()["pixels"]
    with torch.no_grad():
        one.model.encoder.norm.bias.add_(0.3)  # so that encoder and target differ
        told, figures = one.loss({"pixels": clips}, torch.Generator().manual_seed(3))
        assert one.model.target is not None
        targets = one.model.target(clips)
        deviation = (targets.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
        targets = (targets - targets.mean(-1, keepdim=True)) / deviation
        generator, expected = torch.Generator().manual_seed(3), []
        for masks in one.masks:
            seen, hidden = draw_masks((2, 4, 4), 6, masks, generator)
            predicted = one.model.predictor(one.model.encoder(clips, seen), seen, hidden)
            apart = torch.stack([predicted[row] - targets[row, hidden[row]] for row in range(6)]).abs()
            expected.append(torch.where(apart < 1, apart**2 / 2, apart - 0.5) if objective == "ijepa" else apart)
        assert float(told) == pytest.approx(sum(float(error.mean()) for error in expected) / len(expected), rel=1e-4)
        assert 0 < figures["hidden"] < 1


def test_the_future_is_compared_with_tokens_that_know_nothing_of_what_follows() -> None:
    """A change of the last frames changes the loss only where these are predicted."""
    one, clips = make("vjepa"), batch()["pixels"]
    one.masks = (MaskConfig(future=(1, 1), past=(1, 1)),)
    one.model = VideoJEPA(ClipSpec((32, 32), 6), SIZES)
    clips = torch.cat([clips, clips[:, :2]], 1)
    later = clips.clone()
    later[:, 4:] = 0
    losses = [one.loss({"pixels": seen}, torch.Generator().manual_seed(0))[0].item() for seen in (clips, later)]
    assert losses[0] == losses[1]
    later[:, 3:] = 0
    assert one.loss({"pixels": later}, torch.Generator().manual_seed(0))[0].item() != losses[0]


def test_lejepa_weighs_prediction_and_sigreg() -> None:
    one = make("lejepa")
    total, figures = one.loss(batch(), torch.Generator().manual_seed(0))
    assert figures["sigreg"] > 0
    assert total.item() == pytest.approx(0.75 * figures["prediction"] + 0.25 * figures["sigreg"], rel=1e-5)


def test_sigreg_beside_a_moving_average_is_of_the_standardised_mean_of_the_encoder() -> None:
    """Features on a line, however long, are as far from a Gaussian in all directions as others on a line."""
    one = make("ijepa")
    one.sigreg_share = 0.25
    found = one.loss(batch(), torch.Generator().manual_seed(0))[1]["sigreg"]
    with torch.no_grad():
        one.model.encoder.norm.weight.mul_(0.5)
        one.model.encoder.norm.bias.add_(3)
    assert one.loss(batch(), torch.Generator().manual_seed(0))[1]["sigreg"] == pytest.approx(found, rel=0.02)
    spread = [standardised(torch.randn(64, 4, generator=torch.Generator().manual_seed(seed))) for seed in range(2)]
    flat = standardised(spread[0][:, :1] @ torch.ones(1, 4))
    values = [float(sigreg(features, torch.Generator().manual_seed(2))) for features in (spread[1], flat)]
    assert values[1] > 2 * values[0]


def test_lejepa_compares_standardised_tokens_however_little_they_differ() -> None:
    torch.manual_seed(0)
    model = VideoJEPA(ClipSpec((32, 32), 4), SIZES, target=False, projection=5, standard=True)
    clips = batch()["pixels"]
    before = model.targets(clips)
    with torch.no_grad():
        model.encoder.norm.weight.mul_(0.05)
        model.encoder.norm.bias.add_(3)
    torch.testing.assert_close(model.targets(clips), before, rtol=0, atol=0.01)
    model.targets(clips).square().sum().backward()
    assert model.encoder.embed.weight.grad is not None and model.encoder.embed.weight.grad.any()


def test_the_average_moves_by_its_momentum() -> None:
    one = make("ijepa")
    assert one.model.target is not None
    before = one.model.target.embed.weight.clone()
    with torch.no_grad():
        one.model.encoder.embed.weight.add_(1.0)
    one.update_target(0.75)
    torch.testing.assert_close(one.model.target.embed.weight, before + 0.25)
