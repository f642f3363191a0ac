"""A memory is the same however its context came, is read once, and holds what went out of sight."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor

from wmplan.control import Controller
from wmplan.models import JEPA
from wmplan.models.predictors import RecurrentPredictor, make_predictor
from wmplan.planning.cem import CEM, CEMConfig
from wmplan.planning.objectives.distances import LatentDistance

HISTORY = 8


def predictor() -> RecurrentPredictor:
    """One whose every weight counts."""
    found = make_predictor("recurrent", 4, 3, HISTORY, width=8, depth=1).double().eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in found.parameters():
        torch.nn.init.normal_(parameter, std=0.4, generator=generator)
    assert isinstance(found, RecurrentPredictor)
    return found


def context(time: int, batch: int = 2, candidates: int = 5, horizon: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(batch, HISTORY, 4, generator=generator, dtype=torch.float64)
    past = torch.randn(batch, HISTORY - 1, 3, generator=generator, dtype=torch.float64)
    actions = torch.randn(batch, candidates, horizon, 3, generator=generator, dtype=torch.float64)
    return latents[:, :time], past[:, : time - 1], actions


@contextmanager
def counted(one: RecurrentPredictor) -> Iterator[list[int]]:
    """Frames of contexts that are read: a rollout has several candidates."""
    read: list[int] = []
    hook = one.cell.register_forward_hook(lambda _, given, out: read.append(1) if out.shape[1] == 1 else None)
    yield read
    hook.remove()


@torch.no_grad()
def test_a_context_given_at_once_and_frame_by_frame_predicts_the_same() -> None:
    grown, fresh = predictor(), predictor()
    for time in range(1, HISTORY + 1):
        found = grown.rollout(*context(time))
        torch.testing.assert_close(found, predictor().rollout(*context(time)), rtol=0, atol=0)
    torch.testing.assert_close(found, fresh.rollout(*context(HISTORY)), rtol=0, atol=0)


@torch.no_grad()
def test_the_memory_of_a_rollout_is_that_of_single_steps() -> None:
    """Against the plain form, which reads the whole of the past at each step."""
    one = predictor()
    latents, past, actions = context(3, candidates=1)
    seen, done = list(latents.unsqueeze(1).unbind(2)), list(past.unsqueeze(1).unbind(2))
    for step, action in enumerate(actions.unbind(2)):
        done.append(action)
        seen.append(one.step(seen, done))
        torch.testing.assert_close(one.rollout(latents, past, actions)[:, :, step], seen[-1])
    last = one.rollout(latents, past, actions, last_only=True)
    torch.testing.assert_close(last, seen[-1].unsqueeze(2))


@torch.no_grad()
def test_a_frame_is_read_once_until_something_changes() -> None:
    one = predictor()
    with counted(one) as read:
        one.rollout(*context(4))
        one.rollout(*context(4))
        assert len(read) == 3  # the newest frame is read with each candidate's action
        one.rollout(*context(5))
        assert len(read) == 4
        latents, past, actions = context(5)
        one.rollout(latents + 1, past, actions)
        assert len(read) == 8
        one.rollout(*context(5))  # the other one is still known
        assert len(read) == 8
        before = one.rollout(*context(5))
        one.cell.keep.bias.add_(1)
        assert not torch.allclose(one.rollout(*context(5)), before) and len(read) == 12
        one.train()
        one.rollout(*context(5))
        assert len(read) == 16 and one.training


def test_gradients_reach_the_oldest_frame() -> None:
    latents, past, actions = context(HISTORY)
    latents.requires_grad_()
    predictor().rollout(latents, past, actions).sum().backward()
    assert latents.grad is not None and (latents.grad[:, 0] != 0).all()


def test_planning_reads_each_frame_once(make_jepa: Callable[..., JEPA]) -> None:
    model = make_jepa(history=16, proprio=0, predictor="recurrent")
    assert isinstance(model.predictor, RecurrentPredictor)
    config = CEMConfig(num_samples=16, num_iterations=4, num_elites=4, horizon=3)
    planner = CEM(config, *model.spec.block_bounds(), action_block=2)
    pilot = Controller(model, planner, LatentDistance(), replan_every=2)
    rng = np.random.default_rng(0)
    pilot.reset(rng.integers(0, 255, (16, 24, 3), dtype=np.uint8), seeds=0)
    with counted(model.predictor) as read:
        for _ in range(13):
            pilot.act(rng.integers(0, 255, (16, 24, 3), dtype=np.uint8))
    # seven plans of four iterations, of contexts with one frame to seven; what a plan costs is asked of it alone
    assert len(read) == 6 + 7 * config.horizon


@pytest.mark.slow
def test_it_learns_to_remember_what_the_first_frame_alone_showed() -> None:
    """A number is seen once, then nothing for ten frames; a window of two frames knows nothing of it."""
    reached = []
    for name, history in (("recurrent", 12), ("mlp", 2)):
        torch.manual_seed(0)
        one = make_predictor(name, 2, 1, history, width=32, depth=1)
        optimizer = torch.optim.Adam(one.parameters(), 1e-2)
        generator = torch.Generator().manual_seed(0)
        for _ in range(200):
            shown = torch.randn(64, generator=generator).sign()
            latents = torch.zeros(64, 12, 2)
            latents[:, 0, 0], latents[:, -1, 1] = shown, 1.0  # the last frame asks for it
            window, past = latents[:, -history:], torch.zeros(64, history - 1, 1)
            predicted = one.rollout(window, past, torch.zeros(64, 1, 1, 1))[:, 0, 0, 0]
            loss = (predicted - shown).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        reached.append(loss.item())
    assert reached[0] < 0.05 and reached[1] > 0.8
