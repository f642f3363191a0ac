"""JEPA-WM against the numbers of the reference implementation."""

import pytest
import torch

from wmplan.models.released.frame_causal import KVCache
from wmplan.models.released.jepa_wm import JepaWM
from wmplan.models.released.objectives import PatchAndProprio

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def reference(parity):
    return parity("jepa_wm")


@pytest.fixture(scope="module")
def model(reference):
    return JepaWM.from_state_dict(reference.weights, reference.architecture)


@pytest.fixture(autouse=True)
def no_grad():
    with torch.inference_mode():
        yield


def latents(model, io, name):
    return model.encode_tokens(io[f"{name}_visual"].flatten(2, 3), io[f"{name}_proprio"])


def test_rollout_matches(model, reference):
    io = reference.io
    context = latents(model, io, "ctx")
    assert reference.worst(context[..., 48:], "ctx_proprio_emb") <= TOLERANCE
    predicted = model.rollout(context, io["actions"][None])
    assert reference.worst(predicted[0, :, :1, :, :48], "pred1_visual") <= TOLERANCE
    assert reference.worst(predicted[0, :, :1, :, 48:], "pred1_proprio") <= TOLERANCE
    assert (predicted[0, ..., :48] - io["rollout_visual"][:, 1:]).abs().max() <= TOLERANCE
    assert (predicted[0, ..., 48:] - io["rollout_proprio"][:, 1:]).abs().max() <= TOLERANCE
    objective, goal = PatchAndProprio(48, alpha=0.1, proprio_patches="all"), latents(model, io, "goal")[:, 0]
    assert reference.worst(objective(predicted, goal)[0], "cost") <= TOLERANCE
    steps = torch.stack([objective(predicted[:, :, : h + 1], goal)[0] for h in range(6)], dim=1)
    assert reference.worst(steps, "cost_steps") <= TOLERANCE


def test_every_frame_of_a_window_matches(model, reference):
    io = reference.io
    conditions = model.condition(io["tf_actions"])
    out = model.predictor(latents(model, io, "tf"), conditions, 0, KVCache(16), newest_only=False)
    assert reference.worst(out[..., :48], "tf_visual_pred") <= TOLERANCE
    assert reference.worst(out[..., 48:], "tf_proprio_pred") <= TOLERANCE


def test_the_newest_frame_alone_is_what_the_whole_window_gives(reference):
    """A window of four frames, three of them context, against the teacher-forced predictions of the reference."""
    io = reference.io
    model = JepaWM.from_state_dict(reference.weights, {**reference.architecture, "ctxt_window": 4})
    context, actions = latents(model, io, "tf"), io["tf_actions"]
    predicted = model.rollout(context, actions[:, None, 2:], actions[:, :2])[0, 0, 0]
    assert (predicted[:, :48] - io["tf_visual_pred"][0, 2]).abs().max() <= TOLERANCE


def test_sharing_and_chunks_change_nothing(model):
    torch.manual_seed(0)
    context, past, actions = torch.randn(2, 2, 16, 60), torch.randn(2, 1, 20), torch.randn(2, 5, 3, 20)
    whole = model.rollout(context, actions, past)
    model.max_batch_bytes = 3 * model.candidate_bytes(2, 2)
    try:
        chunked = model.rollout(context, actions, past)
    finally:
        del model.max_batch_bytes
    alone = torch.stack([model.rollout(context, actions[:, s : s + 1], past)[:, 0] for s in range(5)], 1)
    assert (whole - chunked).abs().max() <= 1e-5
    assert (whole - alone).abs().max() <= 1e-5


def test_a_model_without_proprioception(reference):
    """The DROID release has none: no proprio_encoder, and latents are visual alone."""
    architecture = {
        **reference.architecture,
        "proprio_emb_dim": 0,
        "proprio_dim": 0,
        "predictor": {**reference.architecture["predictor"], "mlp_hidden_dim": 96},
    }
    model = JepaWM.build(architecture).eval()
    assert not any("proprio" in name for name in model.state_dict())
    context = model.encode_tokens(torch.zeros(1, 1, 16, 48))
    assert model.rollout(context, torch.zeros(1, 2, 3, 20)).shape == (1, 2, 3, 16, 48)
