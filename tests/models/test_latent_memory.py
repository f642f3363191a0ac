"""What is believed of hidden frames comes from what was seen before, and is the same however a context came."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from wmplan.errors import UserError
from wmplan.models import JEPA, JEPAConfig, ModelSpec, load, save
from wmplan.models.latent_memory import LatentMemory, PredictsNext

HISTORY = 8
CONFIG = JEPAConfig(
    encoder_options={"channels": [4], "keypoints": 2, "hidden": 8},
    latent_dim=3,
    predictor="hidden_state",
    predictor_options={"hidden": 8, "width": 8, "depth": 1},
    proprio_width=0,
    memory=True,
    memory_options={"width": 8},
    window=2,
)
SPEC = ModelSpec(
    image_size=(32, 32),
    history=HISTORY,
    action_block=2,
    action_low=(-1.0,),
    action_high=(1.0,),
    action_mean=(0.1,),
    action_std=(0.5,),
    latent_shape=(3,),
)


def model(seed: int = 0) -> JEPA:
    """One whose every weight counts."""
    found = JEPA(CONFIG, SPEC).eval()
    generator = torch.Generator().manual_seed(seed)
    for part in (found.predictor, found.memory):
        assert part is not None
        for parameter in part.parameters():
            torch.nn.init.normal_(parameter, std=0.4, generator=generator)
    found.error_scale.fill_(0.5)
    return found


def context(time: int, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(batch, HISTORY, 3, generator=generator)
    past = torch.randn(batch, HISTORY - 1, 2, generator=generator)
    actions = torch.randn(batch, 5, 3, 2, generator=generator)
    return latents[:, :time], actions, past[:, : time - 1]


@contextmanager
def counted(one: JEPA) -> Iterator[list[int]]:
    """Frames that the memory reads."""
    assert one.memory is not None
    read: list[int] = []
    hook = one.memory.cell.register_forward_hook(lambda *_: read.append(1))
    yield read
    hook.remove()


@torch.no_grad()
def test_a_rollout_goes_on_from_what_is_believed() -> None:
    """Against the memory and the predictor asked by hand."""
    one = model()
    latents, actions, past = context(5)
    believed = latents[:, :1]
    assert one.memory is not None
    memory = torch.zeros(2, 1, 8)
    for step in range(1, 5):
        window = torch.cat([believed[:, :1], believed], 1)[:, -2:]
        earlier = past[:, step - 2 : step - 1] if step > 1 else torch.zeros(2, 1, 2)
        moved = one.normalise_actions(past[:, step - 1])[:, None, None]
        predicted = one.predictor.rollout(window, one.normalise_actions(earlier), moved)[:, 0, 0]
        latent, memory = one.memory.believed(latents[:, step], predicted, memory, one.error_scale)
        believed = torch.cat([believed, latent[:, None]], 1)
    assert not torch.allclose(believed, latents, atol=0.1)
    found = one.rollout(latents, actions, past)
    wanted = one.predictor.rollout(
        believed[:, -2:], one.normalise_actions(past[:, -1:]), one.normalise_actions(actions)
    )
    torch.testing.assert_close(found, wanted)


@torch.no_grad()
def test_a_context_that_grows_is_read_once_and_predicts_the_same() -> None:
    grown = model()
    for time in range(1, HISTORY + 1):
        with counted(grown) as read:
            found = grown.rollout(*context(time))
            grown.rollout(*context(time))  # as the next iteration of a search does
        assert len(read) == (1 if time > 1 else 0)
        torch.testing.assert_close(found, model().rollout(*context(time)), rtol=0, atol=0)


@torch.no_grad()
def test_other_weights_and_other_contexts_are_not_taken_for_those_that_are_known() -> None:
    one = model()
    one.rollout(*context(6))
    one.predictor.load_state_dict(model(1).predictor.state_dict())
    assert one.memory is not None
    other = model(1)
    assert other.memory is not None
    other.memory.load_state_dict(one.memory.state_dict())
    torch.testing.assert_close(one.rollout(*context(6)), other.rollout(*context(6)), rtol=0, atol=0)
    latents, actions, past = context(6)
    changed = latents.clone()
    changed[:, 1] += 1.0
    torch.testing.assert_close(one.rollout(changed, actions, past), other.rollout(changed, actions, past))
    past[:, 0] += 1.0
    torch.testing.assert_close(one.rollout(latents, actions, past), other.rollout(latents, actions, past))
    for each in (one, other):
        each.error_scale.mul_(4.0)
    torch.testing.assert_close(one.rollout(latents, actions, past), other.rollout(latents, actions, past))


@torch.no_grad()
def test_an_untrained_memory_believes_what_is_seen() -> None:
    memory = LatentMemory(4, width=8)
    seen, predicted, scale = torch.randn(6, 4), torch.randn(6, 4), torch.ones(4)
    latent, _ = memory.believed(seen, predicted, torch.zeros(6, 1, 8), scale)
    assert (latent - seen).abs().max() < 0.02 * (predicted - seen).abs().max()


def test_hidden_frames_of_a_known_motion_are_believed_as_predicted() -> None:
    """A point that actions move: seen, or a number from anywhere in its place. What is best is known: the sum."""
    generator = torch.Generator().manual_seed(0)
    memory = LatentMemory(1, width=32)
    world = PredictsNext(lambda latents, past, action: latents[:, -1] + action, torch.tensor([0.05]), 1)

    def episodes(count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        actions = 0.5 * torch.randn(count, 7, 1, generator=generator)
        true = torch.randn(count, 1, 1, generator=generator) + torch.cat(
            [torch.zeros(count, 1, 1), actions.cumsum(1)], 1
        )
        hidden = torch.rand(count, 8, 1, generator=generator) < 0.4
        hidden[:, 0] = False
        noisy = true + 0.05 * torch.randn(true.shape, generator=generator)
        noisy[:, 0] = true[:, 0]
        return true, torch.where(hidden, 2 * torch.randn(true.shape, generator=generator), noisy), actions, hidden

    def believed(seen: Tensor, actions: Tensor) -> Tensor:
        return torch.stack([one.latents[:, -1] for one in memory.beliefs(seen, actions, world)], 1)

    optimizer = torch.optim.Adam(memory.parameters(), 3e-3)
    for _ in range(300):
        true, seen, actions, _ = episodes(64)
        loss = (believed(seen, actions) - true).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    true, seen, actions, hidden = episodes(500)
    with torch.no_grad():
        error = (believed(seen, actions) - true).abs()
    assert error[hidden].mean() < 0.1 * (seen - true).abs()[hidden].mean()
    assert error[~hidden].mean() < 0.1


def test_it_is_stored_and_comes_back(tmp_path: Path) -> None:
    one = model()
    save(one, tmp_path, {})
    loaded = load(str(tmp_path))
    with torch.no_grad():
        torch.testing.assert_close(loaded.rollout(*context(6)), one.rollout(*context(6)), atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"window": 9}, "window must be at most history, 8, got 9"),
        ({"memory": False}, "window must be left out without a memory"),
        ({"window": 0}, "window must be"),
    ],
)
def test_what_does_not_fit_together_is_named(config: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        JEPA(replace(CONFIG, **config), SPEC)  # type: ignore[arg-type]
