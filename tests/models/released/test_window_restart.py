"""A window that begins anew with fewer frames, against one call of the model for each step of one candidate."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wmplan.bench.models import LEWM
from wmplan.models.checkpoint import save
from wmplan.models.errors import CheckpointError
from wmplan.models.loading import load
from wmplan.models.released.dino_wm import DinoWM
from wmplan.models.released.frame_causal import FrameCausalModel
from wmplan.models.released.lewm import LeWM

DINO = {
    "enc_dim": 24, "num_patches": 4, "num_hist": 3, "action_dim": 10, "raw_action_dim": 2, "action_emb_dim": 6,
    "proprio_dim": 2, "proprio_emb_dim": 2, "predictor": {"depth": 2, "heads": 2, "dim_head": 8, "mlp_dim": 20},
}  # fmt: skip
SMALL_LEWM = {**LEWM, "predictor": {**LEWM["predictor"], "depth": 2, "mlp_dim": 64}}
WINDOWS = {1: [(0, 1), (0, 2), (0, 3), (3, 4), (3, 5)], 2: [(0, 1), (0, 2), (0, 3), (2, 4), (2, 5)]}
"""Frames from and to, that each of five steps sees from one frame on, by hand."""


def made(kind: type[FrameCausalModel], **more: int) -> FrameCausalModel:
    torch.manual_seed(0)
    model = kind.build({**(DINO if kind is DinoWM else SMALL_LEWM), **more}).eval().requires_grad_(False)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(0.0, weight.shape[-1] ** -0.5)
    return model


def step_by_step(model: FrameCausalModel, context: Tensor, actions: Tensor, windows: list[tuple[int, int]]) -> Tensor:
    """Latents (H, *latent) after actions (H, A) from one frame (*latent), each by a call for its window alone."""
    frames = [context]
    for step, (first, end) in enumerate(windows):
        seen, past = torch.stack(frames[first:end])[None], actions[first : end - 1][None]
        frames.append(model.rollout(seen, actions[None, None, step : step + 1], past)[0, 0, 0])
    return torch.stack(frames[1:])


@pytest.mark.parametrize("kind", [DinoWM, LeWM])
@pytest.mark.parametrize("restart", [1, 2])
def test_each_step_sees_the_frames_of_its_window(kind: type[FrameCausalModel], restart: int) -> None:
    model, full = made(kind, window_restart=restart), made(kind)
    context, actions = torch.randn(1, 1, *model.spec.latent_shape), torch.randn(1, 3, 5, 10)
    with torch.no_grad():
        found = model.rollout(context, actions)[0]
        for candidate in range(3):
            wanted = step_by_step(full, context[0, 0], actions[0, candidate], WINDOWS[restart])
            torch.testing.assert_close(found[candidate], wanted, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model.rollout_last(context, actions)[0, :, 0], found[:, -1])
        slid = full.rollout(context, actions)[0]
    torch.testing.assert_close(found[:, :3], slid[:, :3], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found[:, 3], slid[:, 3], atol=1e-3)


@pytest.mark.parametrize("kind", [DinoWM, LeWM])
def test_with_all_frames_it_slides(kind: type[FrameCausalModel]) -> None:
    model, full = made(kind, window_restart=3), made(kind)
    context, actions, past = (
        torch.randn(2, 3, *model.spec.latent_shape),
        torch.randn(2, 3, 4, 10),
        torch.randn(2, 2, 10),
    )
    with torch.no_grad():
        assert torch.equal(model.rollout(context, actions, past), full.rollout(context, actions, past))


def test_it_is_stored_and_its_size_is_checked(tmp_path) -> None:
    save(made(DinoWM, window_restart=2), tmp_path / "model", {})
    assert load(tmp_path / "model").window_restart == 2
    with pytest.raises(CheckpointError, match="'window_restart' must be a whole number from 1 to 3, got 4"):
        made(DinoWM, window_restart=4)
