"""A causal model: what it may know, what it is compared with, and what its errors mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from wmplan.errors import UserError
from wmplan.models import CheckpointError, load, load_pretrained, save
from wmplan.models.next_tokens import NextErrors, thinned
from wmplan.models.video_jepa import ClipSpec, VideoJEPA, ViTConfig

SIZES = ViTConfig(patch=8, tubelet=2, width=24, depth=4, heads=2)


def model(frames: int = 8) -> VideoJEPA:
    torch.manual_seed(0)
    return VideoJEPA(ClipSpec((16, 24), frames), SIZES, target=False, causal=True).eval()


def clips(count: int = 2, frames: int = 8) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, frames, 16, 24, 3), dtype=np.uint8))


@torch.inference_mode()
def test_no_token_knows_of_later_frames() -> None:
    video, one = model(), clips(1)
    other = one.clone()
    other[:, 4:] = 255 - other[:, 4:]
    before, after = video.tokens(one), video.tokens(other)
    assert before.shape == (1, 4, 2, 3, 24)
    assert torch.allclose(before[:, :2], after[:, :2], atol=1e-6)
    assert not torch.allclose(before[:, 2:], after[:, 2:], atol=1e-2)
    assert torch.allclose(video.tokens(one[:, :4]), before[:, :2], atol=1e-6)  # a shorter clip is a beginning


@torch.inference_mode()
def test_every_token_knows_of_all_earlier_places() -> None:
    """The last token of the first row changes with the far corner of the first frame."""
    video, one = model(), clips(1)
    other = one.clone()
    other[:, 0, :8, :8] = 255 - other[:, 0, :8, :8]
    assert not torch.allclose(video.tokens(one)[:, -1, -1, -1], video.tokens(other)[:, -1, -1, -1], atol=1e-4)


def test_targets_are_mean_colours_of_small_squares() -> None:
    image = torch.rand(1, 8, 8, 3)
    pooled = F.avg_pool2d(image.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    assert torch.allclose(thinned(image.flatten(1), 8), pooled.flatten(1), atol=1e-6)
    assert torch.equal(thinned(torch.arange(27.0)[None], 3), torch.arange(27.0)[None])  # an odd patch stays as it is


@torch.inference_mode()
def test_without_weights_the_last_frame_is_predicted_to_stand_still() -> None:
    video, shown = model(), clips()
    torch.nn.init.zeros_(video.predictor.leave.weight)  # type: ignore[union-attr, arg-type]
    video.encoder.centre(shown)
    found = video.next_errors(shown).found
    colours = (shown / 255.0 - 0.5 - video.encoder.pixel_mean) / video.encoder.pixel_std
    small = F.avg_pool2d(colours.flatten(0, 1).movedim(-1, 1), 2).unflatten(0, (2, 8))  # (N, T, 3, 8, 12)
    still = torch.stack([small[:, 2 * step + 1] for step in range(3)], 1)[:, :, None]
    ahead = torch.stack([small[:, 2 * step + 2 : 2 * step + 4] for step in range(3)], 1)
    squares = (ahead - still).square().mean((2, 3))  # (N, 3, 8, 12), four squares a token's side
    wanted = F.avg_pool2d(squares, 4).flatten(2)
    assert found.shape == (2, 3, 6) and torch.allclose(found, wanted, atol=1e-5)


def test_the_log_loss_is_that_of_a_normal_distribution() -> None:
    errors = NextErrors(torch.tensor([0.5, 0.01]), torch.tensor([0.2, 0.02]))
    normal = torch.distributions.Normal(0.0, errors.expected.sqrt())
    constant = 0.5 * np.log(2 * np.pi)
    assert torch.allclose(errors.log_loss, -normal.log_prob(errors.found.sqrt()) - constant)
    assert errors.excess[0] > 0 > errors.excess[1]


def test_it_comes_back_from_its_folder(tmp_path: Path) -> None:
    video, shown = model(), clips()
    save(video, tmp_path, {"name": "next"})
    back = load_pretrained(tmp_path, "cpu")
    with pytest.raises(CheckpointError, match="holds a model of clips without actions, which nothing can be planned"):
        load(tmp_path)
    assert back.causal and torch.equal(back.next_errors(shown).found, video.next_errors(shown).found)


def test_what_a_causal_model_has_not() -> None:
    with pytest.raises(UserError, match="^a causal model compares with colours"):
        VideoJEPA(ClipSpec((16, 16), 8), SIZES, causal=True)
