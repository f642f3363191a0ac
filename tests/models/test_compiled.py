"""Compiled rollouts: the same latents, and nothing compiled once a controller is made. Kernels are another matter: the
backend here only counts what it is asked for, but for the test that is slow."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from wmplan.control.make import make_controller
from wmplan.errors import UserError
from wmplan.models import compiled
from wmplan.models.base import WorldModel
from wmplan.models.compiled import compile_rollouts
from wmplan.models.released.dino_wm import DinoWM

SMALL_DINO = {
    "enc_dim": 24, "num_patches": 4, "num_hist": 3, "action_dim": 6, "raw_action_dim": 3, "action_emb_dim": 6,
    "proprio_dim": 2, "proprio_emb_dim": 2, "predictor": {"depth": 2, "heads": 2, "dim_head": 8, "mlp_dim": 20},
}  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every graph that is compiled."""
    found: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        found.append(len(found))
        return graph.forward

    monkeypatch.setattr(compiled, "BACKEND", backend)
    torch._dynamo.reset()
    return found


def hidden_state(make_jepa: Callable[..., WorldModel]) -> WorldModel:
    return make_jepa(predictor="hidden_state", predictor_options={"hidden": 8, "width": 16})


def dino(make_jepa: Callable[..., WorldModel]) -> WorldModel:
    return DinoWM.build(SMALL_DINO).eval().requires_grad_(False)


@pytest.mark.parametrize("make", [hidden_state, lambda make_jepa: make_jepa(), dino])
def test_the_same_is_predicted(make: Callable[..., WorldModel], make_jepa: Any, asked: list[int]) -> None:
    torch.manual_seed(0)
    model = make(make_jepa)
    context = torch.randn(2, 2, *model.spec.latent_shape)
    cases = [(torch.rand(2, 5, h, 6), torch.rand(2, 1, 6)) for h in (3, 2)]
    with torch.inference_mode():
        wanted = [(model.rollout(context, *one), model.rollout_last(context, *one)) for one in cases]
        fast = compile_rollouts(model, "default")
        found = [(fast.rollout(context, *one), fast.rollout_last(context, *one)) for one in cases]
    assert asked
    for given, due in zip(found, wanted, strict=True):
        torch.testing.assert_close(given, due)


def test_gradients_are_of_the_plain_rollout_and_a_copy_is_of_its_own(make_jepa: Any, asked: list[int]) -> None:
    model = compile_rollouts(make_jepa(), "default")
    context, actions, past = torch.randn(1, 2, 8), torch.rand(1, 3, 2, 6, requires_grad=True), torch.rand(1, 1, 6)
    (slope,) = torch.autograd.grad(model.rollout(context, actions, past).sum(), actions)
    assert float(slope.abs().max()) > 0 and not asked
    other = copy.deepcopy(model)
    with torch.inference_mode():
        before = model.rollout(context, actions, past)
    with torch.no_grad():
        other.predictor.out.bias.add_(1.0)
    with torch.inference_mode():
        assert torch.equal(model.rollout(context, actions, past), before)
        assert not torch.allclose(other.rollout(context, actions, past), before)
    assert set(model.state_dict()) == set(make_jepa().state_dict())


@pytest.mark.parametrize("schedule", [{"arrival_step": 4, "replan_every": 2}, {"replan_every": 2}])
def test_nothing_is_compiled_once_the_controller_is_made(make_jepa: Any, asked: list[int], schedule: Any) -> None:
    model = hidden_state(make_jepa)
    planner = {"name": "icem", "num_samples": 10, "num_iterations": 2, "num_elites": 3, "horizon": 2}
    plain = make_controller(copy.deepcopy(model), planner, None, schedule)
    controller = make_controller(model, {**planner, "compile": "default"}, None, schedule)
    made = len(asked)
    assert made
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (8, 16, 24, 3), dtype=np.uint8)
    for one in (controller, plain):
        one.reset(frames[-1], seeds=[3])
    for frame in frames[:-1]:
        seen = {"pixels": frame, "proprio": np.zeros(2, np.float32)}
        np.testing.assert_allclose(controller.act(seen), plain.act(seen), atol=1e-4)  # nor is a plan another one
    assert len(asked) == made


def test_graphs_need_cuda(make_jepa: Any) -> None:
    with pytest.raises(UserError, match="compile=graphs needs a model on CUDA, this one is on cpu"):
        compile_rollouts(make_jepa(), "graphs")
    with pytest.raises(UserError, match="compile must be one of no, default, graphs, got 'max'"):
        make_controller(make_jepa(), {"name": "cem", "compile": "max"})


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_torchs_own_backend_gives_the_same(make_jepa: Any) -> None:
    model = hidden_state(make_jepa)
    context, actions, past = torch.randn(1, 2, 8), torch.rand(1, 5, 2, 6), torch.rand(1, 1, 6)
    with torch.inference_mode():
        wanted = model.rollout(context, actions, past)
        fast = compile_rollouts(model, "default")
        torch.testing.assert_close(fast.rollout(context, actions, past), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{"memory": True, "memory_options": {"width": 8}}, {"predictor": "recurrent"}])
def test_contexts_that_are_known_are_no_matter_of_shapes(
    options: dict[str, Any], make_jepa: Any, asked: list[int]
) -> None:
    torch.manual_seed(0)
    model = make_jepa(predictor_options={"width": 16}, **options)
    fast = compile_rollouts(model, "default")
    actions, past = torch.rand(1, 5, 3, 6), torch.rand(1, 1, 6)
    for number in range(4):
        context = torch.randn(1, 2, *model.spec.latent_shape)
        with torch.inference_mode():
            found = fast.rollout(context, actions, past)
            torch.testing.assert_close(found, copy.deepcopy(model).rollout(context, actions, past))
        if number == 0:
            compiled_first = len(asked)
    assert len(asked) == compiled_first > 0
