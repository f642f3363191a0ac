"""Windows, frames that are encoded once, and surprise against a loop that does without both."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

import wmplan
from wmplan.errors import UserError
from wmplan.exam.controls import CopyLastFrame
from wmplan.exam.examinees import untrained
from wmplan.exam.pixel_predictor import network_of_size, train
from wmplan.exam.progress import Progress
from wmplan.exam.subject import Window, distinct, distinct_windows
from wmplan.exam.world_model import WorldModelSubject

spec = importlib.util.spec_from_file_location("dot_exam", Path(__file__).with_name("dot_exam.py"))
assert spec is not None and spec.loader is not None
dot_exam = importlib.util.module_from_spec(spec)
spec.loader.exec_module(dot_exam)


def test_a_clip_that_is_shorter_than_the_window_is_refused() -> None:
    assert Window(2, 3, 4).frames == 17 and len(Window(2, 3, 4).starts(17)) == 1
    with pytest.raises(UserError, match="^clips have 16 frames, the window takes 17 "):
        Window(2, 3, 4).starts(16)
    subject = WorldModelSubject(dot_exam.DotModel(block=20))
    with pytest.raises(UserError, match="^clips have 14 frames, the window takes 21 "):
        subject.windows(14)


def test_equal_frames_are_kept_once() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 2, (3, 6, 1, 2, 3), dtype=np.uint8)
    kept, index = distinct(frames)
    assert np.array_equal(kept[index], frames) and len(np.unique(kept.reshape(len(kept), -1), axis=0)) == len(kept)
    stretches, of = distinct_windows(index, Window(1, 1, 2))
    assert np.array_equal(kept[stretches[of]], np.stack([frames[:, :-2], frames[:, 2:]], 2))


def test_surprise_is_the_error_of_the_models_own_prediction() -> None:
    """Clip by clip and window by window, with the shipped model, by its encode() and rollout() alone."""
    model = wmplan.load("pusht", device="cpu")
    rng = np.random.default_rng(0)
    frames = np.repeat(rng.integers(0, 256, (2, 5, 64, 64, 3), dtype=np.uint8), 5, axis=1)[:, :24]
    window = Window(2, 2, model.spec.action_block)
    found = WorldModelSubject(model).surprise(frames, [window])[0]
    block, still = model.spec.action_block, torch.zeros(1, 1, model.spec.block_dim)
    own = model.spec.proprio_dim
    with torch.inference_mode():
        for clip in range(2):
            latents = model.encode(torch.from_numpy(frames[clip : clip + 1]))
            for start in window.starts(24):
                seen = latents[:, [start, start + block]]
                predicted = model.rollout(seen, torch.zeros(1, 1, 2, model.spec.block_dim), still)[:, 0]
                error = (predicted - latents[:, [start + 2 * block, start + 3 * block]]).abs()[..., :-own].mean()
                assert found[clip, start] == pytest.approx(float(error), rel=1e-4)


def test_actions_are_those_between_the_frames() -> None:
    """A model that adds up its actions is not surprised by frames that do the same, and is by others."""

    class Summing(dot_exam.DotModel):
        def rollout(self, context, actions, past_actions=None):
            moved = actions.sum(-1, keepdim=True).cumsum(2)
            return context[:, None, -1:] + torch.cat([torch.zeros_like(moved), moved], -1)

    rng = np.random.default_rng(1)
    actions = rng.integers(0, 2, (1, 12, 1)).astype(np.float32)
    columns = np.concatenate([[0], np.cumsum(actions[0, :-1, 0])])
    states = np.stack([np.full(12, 3.0), columns, columns, columns], 1)
    frames = dot_exam.frames_of(states)[None]
    subject, window = WorldModelSubject(Summing(block=2)), Window(1, 2, 2)
    assert subject.surprise(frames, [window], actions)[0].max() == 0
    assert subject.surprise(frames, [window], actions + 1)[0].min() > 0
    with pytest.raises(UserError, match="^the exam's actions have 3 numbers, the model's 1: "):
        subject.surprise(frames, [window], np.zeros((1, 12, 3), np.float32))


def test_a_copy_of_the_last_frame_is_wrong_by_what_changes() -> None:
    frames = np.zeros((1, 6, 2, 2, 3), np.uint8)
    frames[0, 3:] = 255
    found = CopyLastFrame((2, 2)).surprise(frames, [Window(1, 1), Window(1, 2)])
    assert found[0].tolist() == [[0, 0, 1, 0, 0]] and found[1].tolist() == [[0, 0.5, 1, 0]]


def test_untrained_networks_are_of_the_architecture_and_differ() -> None:
    model = wmplan.load("pusht", device="cpu")
    state = torch.get_rng_state()
    networks = untrained(model, 2)
    assert torch.equal(torch.get_rng_state(), state)
    first, second = (dict(one.model.named_parameters()) for one in networks)
    assert {name: weight.shape for name, weight in first.items()} == {
        name: weight.shape for name, weight in model.named_parameters()
    }
    assert any(not torch.equal(first[name], second[name]) for name in first)
    assert untrained(dot_exam.DotModel(), 2) == []  # no form of ours to build another from


def test_the_pixel_predictor_is_as_large_as_asked_and_learns_what_moves() -> None:
    assert 50_000 <= sum(weight.numel() for weight in network_of_size(50_000, 0).parameters()) < 100_000
    steps = np.arange(12)
    clips = np.stack([dot_exam.frames_of(np.stack([np.full(12, row), steps, steps, steps], 1)) for row in range(2, 14)])
    window = Window(2, 1)
    before, after = (
        train(lambda: clips, (32, 32), 20_000, 1, count, 0, Progress(None, {})).surprise(clips, [window])[0].mean()
        for count in (0, 60)
    )
    assert after < 0.5 * before
