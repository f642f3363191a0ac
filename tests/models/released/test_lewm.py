"""LeWM against the numbers of the reference implementation."""

from dataclasses import replace

import pytest
import torch

from wmplan.models.released.frame_causal import KVCache
from wmplan.models.released.lewm import LeWM
from wmplan.models.released.objectives import SummedSquaredError

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def reference(parity):
    return parity("lewm")


@pytest.fixture(scope="module")
def model(reference):
    return LeWM.from_state_dict(reference.weights, reference.architecture)


@pytest.fixture(autouse=True)
def no_grad():
    with torch.inference_mode():
        yield


def test_encoder_matches(model, reference):
    frames = reference.io["frames_uint8"]
    images = model.preprocess(frames)
    assert reference.worst(images, "frames_preprocessed") <= TOLERANCE
    assert reference.worst(model.encoder(images), "enc_tokens") <= TOLERANCE
    assert reference.worst(model.encode(frames[None])[0], "enc_emb") <= TOLERANCE


def test_rollout_from_one_frame_matches(model, reference):
    io = reference.io
    context, actions = io["enc_emb"][None, :1], io["actions"][None]
    predicted = model.rollout(context, actions)
    assert reference.worst(model.action_encoder(io["actions"]), "act_emb") <= TOLERANCE
    assert reference.worst(predicted[0, :, :1], "pred1") <= TOLERANCE
    assert (predicted[0] - io["rollout_emb"][:, 1:]).abs().max() <= TOLERANCE
    assert reference.worst(SummedSquaredError()(predicted, io["goal_emb"])[0], "cost") <= TOLERANCE


def test_rollout_from_three_frames_matches(model, reference):
    io = reference.io
    context, actions = io["enc_emb"][:3].expand(4, 3, -1), io["long_actions"]
    predicted = model.rollout(context, actions[:, None, 2:], actions[:, :2])[:, 0]
    assert (predicted - io["long_rollout_emb"][:, 3:]).abs().max() <= TOLERANCE
    cost = SummedSquaredError()(predicted[None], io["goal_emb"])[0]
    assert reference.worst(cost, "long_cost") <= TOLERANCE
    every = model.predictor(context, model.condition(actions[:, :3]), 0, KVCache(1), newest_only=False)
    assert reference.worst(model.pred_proj(every.flatten(0, 1)).unflatten(0, (4, 3)), "long_pred_all") <= TOLERANCE


def test_sharing_and_chunks_change_nothing(model, reference):
    """Two environments with three frames each, in one call with small chunks, against one candidate at a time."""
    torch.manual_seed(0)
    context, past, actions = torch.randn(2, 3, 48), torch.randn(2, 2, 10), torch.randn(2, 5, 4, 10)
    whole = model.rollout(context, actions, past)
    model.max_batch_bytes = 3 * model.candidate_bytes(3, 3)
    try:
        chunked = model.rollout(context, actions, past)
    finally:
        del model.max_batch_bytes
    alone = torch.stack([model.rollout(context, actions[:, s : s + 1], past)[:, 0] for s in range(5)], 1)
    assert (whole - chunked).abs().max() <= 1e-5
    assert (whole - alone).abs().max() <= 1e-5


def test_actions_are_in_the_robots_units(reference, model):
    spec = replace(model.spec, action_mean=(3.0, -1.0), action_std=(0.5, 2.0))
    scaled = LeWM.from_state_dict(reference.weights, reference.architecture, spec)
    context, actions = reference.io["enc_emb"][None, :1], reference.io["actions"][None]
    robot = actions * torch.tensor([0.5, 2.0] * 5) + torch.tensor([3.0, -1.0] * 5)
    assert (scaled.rollout(context, robot) - model.rollout(context, actions)).abs().max() <= 1e-5


def test_names_of_newer_transformers_load(reference):
    import re

    new = {}
    for name, tensor in reference.weights.items():
        name = re.sub(r"^encoder\.encoder\.layer\.(\d+)\.", r"encoder.layers.\1.", name)
        if name.startswith("encoder.layers."):
            for old, newer in (
                (".attention.attention.query.", ".attention.q_proj."),
                (".attention.attention.key.", ".attention.k_proj."),
                (".attention.attention.value.", ".attention.v_proj."),
                (".attention.output.dense.", ".attention.o_proj."),
                (".intermediate.dense.", ".mlp.fc1."),
                (".output.dense.", ".mlp.fc2."),
            ):
                name = name.replace(old, newer)
        new[name] = tensor
    assert "encoder.layers.0.mlp.fc2.weight" in new
    model = LeWM.from_state_dict(new, reference.architecture)
    assert reference.worst(model.encode(reference.io["frames_uint8"][None])[0], "enc_emb") <= TOLERANCE


def test_a_wrong_checkpoint_is_refused_in_one_readable_line(reference):
    weights = dict(reference.weights)
    weights["predictor.transformer.layers.7.extra"] = weights.pop("predictor.transformer.norm.weight")
    weights["pred_proj.net.0.bias"] = torch.zeros(97)
    with pytest.raises(ValueError, match=r"1 missing \(predictor.transformer.norm.weight\); 1 unexp.*extra.*97") as e:
        LeWM.from_state_dict(weights, reference.architecture)
    assert "\n" not in str(e.value)


def test_numbers_that_are_not_finite_are_refused(reference):
    weights = {name: tensor.clone() for name, tensor in reference.weights.items()}
    weights["projector.net.0.weight"][0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"not finite, in projector\.net\.0\.weight"):
        LeWM.from_state_dict(weights, reference.architecture)


def test_a_missing_size_is_named(reference):
    architecture = {**reference.architecture, "predictor": {"num_frames": 3, "input_dim": 48}}
    with pytest.raises(ValueError, match="lacks the field 'predictor.depth'"):
        LeWM.from_state_dict(reference.weights, architecture)
