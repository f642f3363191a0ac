"""The folded predictor against the same weights carried through every layer as they are."""

import shutil

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from wmplan.models.released.frame_causal import FrameCausalModel
from wmplan.models.released.lewm import LeWM

SIZES = {
    "one wide head": {"heads": 1, "dim_head": 48},
    "own width": {"hidden_dim": 40},
    "own width and output": {"hidden_dim": 40, "output_dim": 56},
}


@pytest.fixture(params=["released layout", *SIZES])
def model(request, parity):
    reference = parity("lewm")
    if request.param == "released layout":
        return LeWM.from_state_dict(reference.weights, reference.architecture)
    predictor = {**reference.architecture["predictor"], **SIZES[request.param]}
    model = LeWM.build({**reference.architecture, "predictor": predictor}).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * (0.3 if weight.ndim > 1 else 1.0))
    return model


def arguments(model, time, horizon, batch=2, samples=4):
    torch.manual_seed(0)
    spec = model.spec
    context, actions = (
        torch.randn(batch, time, *spec.latent_shape),
        torch.randn(batch, samples, horizon, spec.block_dim),
    )
    return context, actions, torch.randn(batch, time - 1, spec.block_dim) if time > 1 else None


@pytest.mark.parametrize("horizon", [1, 2, 5])
@pytest.mark.parametrize("time", [1, 2, 3])
def test_folding_changes_nothing(model, time, horizon):
    context, actions, past = arguments(model, time, horizon)
    with torch.inference_mode():
        plain = FrameCausalModel._predict(model, context, actions, past, last_only=False)
        folded = model.rollout(context, actions, past)
        last = model.rollout_last(context, actions, past)
    assert plain.std() > 0.1
    assert (plain - folded).abs().max() <= 1e-4 * plain.abs().max()
    assert torch.equal(last, folded[:, :, -1:])


def test_gradients_reach_the_actions(model):
    context, actions, past = arguments(model, 2, 3)
    with torch.no_grad():
        folded = model.rollout(context, actions, past)
    actions.requires_grad_()
    predicted = model.rollout(context, actions, past)
    (slope,) = torch.autograd.grad(predicted.sum(), actions)
    assert (predicted - folded).abs().max() <= 1e-4 * folded.abs().max()
    assert slope.abs().min() > 0


@pytest.mark.parametrize(
    "name", ["predictor.transformer.layers.0.mlp.net.4.weight", "pred_proj.net.3.weight", "pred_proj.net.1.running_var"]
)
def test_new_weights_are_noticed(model, name):
    context, actions, _ = arguments(model, 1, 3)
    with torch.no_grad():
        before = model.rollout(context, actions)
        model.state_dict()[name].mul_(4)
        after = model.rollout(context, actions)
        plain = FrameCausalModel._predict(model, context, actions, None, last_only=False)
    assert (before - after).abs().max() > 1e-2 * before.abs().max()
    assert (plain - after).abs().max() <= 1e-4 * plain.abs().max()


def test_less_is_multiplied(parity):
    """At the released proportions an attention's maps are saved for the oldest frame of every window."""
    sizes = {"input_dim": 48, "hidden_dim": 48, "heads": 4, "dim_head": 64, "mlp_dim": 512, "depth": 6, "num_frames": 3}
    model = LeWM.build({**parity("lewm").architecture, "predictor": sizes}).eval()
    context, actions, _ = arguments(model, 1, 5)
    with torch.no_grad():
        model.folded()
        with FlopCounterMode(display=False) as plain:
            FrameCausalModel._predict(model, context, actions, None, last_only=False)
        with FlopCounterMode(display=False) as folded:
            model.rollout(context, actions)
    assert folded.get_total_flops() < 0.9 * plain.get_total_flops()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiling_changes_nothing(parity):
    architecture = parity("lewm").architecture
    model = LeWM.build({**architecture, "predictor": {**architecture["predictor"], "depth": 1}}).eval()
    context, actions, _ = arguments(model, 1, 2)
    with torch.inference_mode():
        before = model.rollout(context, actions)
        model.compiled = True
        after = model.rollout(context, actions)
    assert before.std() > 0.1
    assert (before - after).abs().max() <= 1e-4 * before.abs().max()
