"""A causal model: its surprise beside that of each stretch alone, and the tokens that count."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wmplan.errors import UserError
from wmplan.exam.causal_model import CausalSubject
from wmplan.exam.examinees import subject_of, untrained
from wmplan.models.video_jepa import ClipSpec, VideoJEPA, ViTConfig

SIZES = ViTConfig(patch=8, tubelet=2, width=24, depth=2, heads=2)


def subject(frames: int = 8) -> CausalSubject:
    torch.manual_seed(0)
    found = subject_of(VideoJEPA(ClipSpec((16, 32), frames, 2), SIZES, target=False, causal=True), "model")
    assert isinstance(found, CausalSubject)
    return found


@pytest.mark.parametrize("length", [12, 15, 16, 24])
def test_each_tubelet_is_predicted_from_all_that_fits_before_it(length: int) -> None:
    """Clips shorter than the model's, as long, and longer: a tubelet is compared by itself."""
    one = subject()
    frames = np.random.default_rng(0).integers(0, 256, (2, length, 16, 32, 3), dtype=np.uint8)
    windows = one.windows(length)
    for window, found in zip(windows, one.surprise(frames, windows), strict=True):
        ends = window.ends(length)
        assert found.shape == (2, len(ends))
        for place, end in enumerate(ends):
            last = end // 2 + 1  # frames that were looked at
            seen = torch.from_numpy(frames[:, ::2][:, max(0, last - 8) : last])
            with torch.inference_mode():
                errors = one.model.next_errors(seen)
            spread = torch.distributions.Normal(torch.zeros(()), errors.expected.sqrt())
            constant = 0.5 * np.log(2 * np.pi)
            surprise = errors.found.sqrt() - errors.expected.sqrt()
            if window.likelihood:
                surprise = -spread.log_prob(errors.found.sqrt()) - constant
            tokens = surprise[:, -1].sort(-1, descending=True).values
            wanted = tokens[:, : window.worst].mean(-1).numpy()
            assert found[:, place] == pytest.approx(wanted, rel=1e-4, abs=1e-6)


def test_untrained_networks_are_of_its_kind() -> None:
    first, second = untrained(subject().model, 2)
    assert isinstance(first, CausalSubject) and isinstance(second, CausalSubject)
    assert not torch.equal(first.model.predictor.leave.weight, second.model.predictor.leave.weight)  # type: ignore[union-attr, arg-type]


def test_a_clip_that_shows_too_little_is_refused() -> None:
    with pytest.raises(UserError, match="^clips have 6 frames, the window takes 11"):
        subject().windows(6)
