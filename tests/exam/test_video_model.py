"""A model without actions: its surprise token by token, and what it is not asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from wmplan.errors import UserError
from wmplan.exam.examine import physics
from wmplan.exam.examinees import load_any, untrained
from wmplan.exam.video_model import VideoSubject
from wmplan.models import save
from wmplan.models.video_jepa import ClipSpec, VideoJEPA, ViTConfig

SIZES = ViTConfig(patch=8, tubelet=2, width=24, depth=1, heads=2, predictor_width=24, predictor_depth=1)


def model(frames: int = 8, stride: int = 1, **options: object) -> VideoJEPA:
    torch.manual_seed(0)
    return VideoJEPA(ClipSpec((16, 16), frames, stride), SIZES, **options).eval()  # type: ignore[arg-type]


def test_windows_are_whole_tubelets_and_all_that_is_not_seen_is_predicted_or_what_comes_next() -> None:
    found = VideoSubject(model(stride=2)).windows(20)
    assert [(one.context, one.ahead) for one in found] == [(6, 2), (4, 4), (2, 6), (4, 2), (2, 2)]
    assert {(one.stride, one.slide) for one in found} == {(2, 4)}
    assert [one.frames for one in found] == [15, 15, 15, 11, 7]
    with pytest.raises(UserError, match="^clips have 14 frames, the window takes 15"):
        VideoSubject(model(stride=2)).windows(14)


def test_a_window_that_predicts_what_comes_next_knows_nothing_of_later_frames() -> None:
    video = model(standard=True)
    assert video.standard is not None
    video.standard.variance.mul_(4)
    video.standard.mean.add_(0.5)
    frames = np.random.default_rng(0).integers(0, 256, (1, 12, 16, 16, 3), dtype=np.uint8)
    subject = VideoSubject(video)
    window = subject.windows(12)[-1]
    assert (window.context, window.ahead) == (2, 2)
    found = subject.surprise(frames, [window])[0]
    with torch.inference_mode():
        seen, cells = torch.from_numpy(frames[:, 4:8]), torch.arange(8)[None]
        target = (video.target(seen) - 0.5) / 2  # type: ignore[misc]
        predicted = video.predictor(video.encoder(seen[:, :2]), cells[:, :4], cells[:, 4:])
        assert found[0, 2] == pytest.approx(float((predicted - target[:, 4:]).abs().mean()), rel=1e-4)


@pytest.mark.parametrize("projection", [0, 5])
def test_surprise_is_the_error_of_predicted_tokens(projection: int) -> None:
    """Against the tokens of each window alone, the target normalised by hand."""
    video = model(projection=projection, target=not projection)
    frames = np.random.default_rng(0).integers(0, 256, (2, 12, 16, 16, 3), dtype=np.uint8)
    subject = VideoSubject(video)
    window = subject.windows(12)[1]
    found = subject.surprise(frames, [window])[0]
    assert found.shape == (2, 3)  # from frames 0, 2 and 4 on
    with torch.inference_mode():
        for clip in range(2):
            for place, start in enumerate((0, 2, 4)):
                seen = torch.from_numpy(frames[clip : clip + 1, start : start + 8])
                context = video.encoder(seen[:, :4])
                whole = video.encoder(seen) if projection else video.target(seen)  # type: ignore[misc]
                if projection:
                    target = video.projection(whole)  # type: ignore[misc]
                else:
                    target = (whole - whole.mean(-1, keepdim=True)) / (
                        whole.var(-1, keepdim=True, unbiased=False) + 1e-5
                    ).sqrt()
                cells = torch.arange(16)[None]
                predicted = video.predictor(context, cells[:, :8], cells[:, 8:])
                error = float((predicted - target[:, 8:]).abs().mean())
                assert found[clip, place] == pytest.approx(error, rel=1e-4)


def test_it_sits_the_exam_from_its_folder(tmp_path: Path) -> None:
    save(model(), tmp_path / "model", {"name": "tiny"})
    assert isinstance(load_any(tmp_path / "model"), VideoJEPA)
    found = physics(
        tmp_path / "model",
        None,
        properties=["colour"],
        pairs=2,
        choice_pairs=1,
        untrained_networks=2,
        pixel_steps=0,
    )
    assert {"model", "untrained 1", "true simulator"} <= set(found["rows"])
    assert found["windows"]["model"]["window"]["slide"] == 2
    first, second = untrained(model(), 2)
    assert isinstance(first, VideoSubject) and isinstance(second, VideoSubject)
    assert not torch.equal(first.model.encoder.embed.weight, second.model.encoder.embed.weight)


def test_what_it_is_not_asked_is_said_in_one_line() -> None:
    with pytest.raises(UserError, match="^this exam has a robot that acts, and the model knows no actions"):
        VideoSubject(model()).check_actions(2)
    with pytest.raises(UserError, match="^the model sees 1 frames, one token along time"):
        VideoSubject(model(frames=1))
