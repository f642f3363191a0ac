"""DINO-WM against the numbers of the reference implementation."""

import pytest
import torch
from torch import nn

from wmplan.models.released.dino_wm import DinoWM
from wmplan.models.released.frame_causal import KVCache
from wmplan.models.released.objectives import PatchAndProprio

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def reference(parity):
    return parity("dino_wm")


@pytest.fixture(scope="module")
def model(reference):
    return DinoWM.from_state_dict(reference.weights, reference.architecture)


@pytest.fixture(autouse=True)
def no_grad():
    with torch.inference_mode():
        yield


def test_tokens_and_one_step_match(model, reference):
    io = reference.io
    embedded = model.condition(io["actions"])
    assert reference.worst(embedded, "act_emb") <= TOLERANCE
    latents = model.encode_tokens(io["ctx_visual"], io["ctx_proprio"]).expand(4, -1, -1, -1)
    tokens = model.join(latents, embedded[:, :1])
    assert reference.worst(tokens, "enc_z") <= TOLERANCE
    assert reference.worst(model.predictor(tokens, 0, KVCache(16)), "pred1") <= TOLERANCE


def test_rollout_from_one_frame_matches(model, reference):
    io = reference.io
    context = model.encode_tokens(io["ctx_visual"], io["ctx_proprio"])
    predicted = model.rollout(context, io["actions"][None])
    assert (predicted[0] - io["rollout_z"][:, 1:, :, :58]).abs().max() <= TOLERANCE
    assert (predicted[0, :, :, 0, 48:] - io["rollout_proprio"][:, 1:]).abs().max() <= TOLERANCE
    window = io["rollout_z"][:, 4:7]  # the last frame keeps the action channels that were predicted
    assert (model.predictor(window, 0, KVCache(16))[:, 0] - io["rollout_z"][:, 7]).abs().max() <= TOLERANCE
    goal = model.encode_tokens(io["goal_visual"], io["goal_proprio"])[:, 0]
    assert (goal[0, 0, 48:] - io["goal_proprio_emb"][0, 0]).abs().max() <= TOLERANCE
    assert reference.worst(PatchAndProprio(48)(predicted, goal)[0], "cost") <= TOLERANCE
    assert reference.worst(PatchAndProprio(48, alpha=0.1)(predicted, goal)[0], "cost_alpha_0p1") <= TOLERANCE
    whole = torch.cat([context[:, None].expand(1, 4, 1, 16, 58), predicted], dim=2)
    assert reference.worst(PatchAndProprio(48, frames="all")(whole, goal)[0], "cost_mode_all") <= TOLERANCE


def test_rollout_from_three_frames_matches_with_everything_shared(model, reference):
    """The reference's candidates differ in their past actions too, so each is an environment here."""
    io = reference.io
    context = model.encode_tokens(io["long_ctx_visual"], io["long_ctx_proprio"]).expand(4, -1, -1, -1)
    actions = io["long_actions"]
    predicted = model.rollout(context, actions[:, None, 2:], actions[:, :2])[:, 0]
    assert (predicted - io["long_rollout_z"][:, 3:, :, :58]).abs().max() <= TOLERANCE
    goal = model.encode_tokens(io["goal_visual"], io["goal_proprio"])[:, 0]
    assert reference.worst(PatchAndProprio(48)(predicted[None], goal)[0], "long_cost") <= TOLERANCE
    tokens = model.join(context, model.condition(actions[:, :3]))
    assert reference.worst(model.predictor(tokens, 0, KVCache(16), newest_only=False), "long_pred_all") <= TOLERANCE


def test_sharing_and_chunks_change_nothing(model):
    torch.manual_seed(0)
    context, past, actions = torch.randn(2, 3, 16, 58), torch.randn(2, 2, 10), torch.randn(2, 5, 4, 10)
    whole = model.rollout(context, actions, past)
    model.max_batch_bytes = 3 * model.candidate_bytes(3, 3)
    try:
        chunked = model.rollout(context, actions, past)
    finally:
        del model.max_batch_bytes
    alone = torch.stack([model.rollout(context, actions[:, s : s + 1], past)[:, 0] for s in range(5)], 1)
    assert (whole - chunked).abs().max() <= 1e-5
    assert (whole - alone).abs().max() <= 1e-5


def test_mask_buffers_of_the_copies_are_left_aside(model, reference):
    weights = {**reference.weights, "predictor.transformer.layers.0.0.bias": torch.zeros(1, 1, 48, 48)}
    DinoWM.from_state_dict(weights, reference.architecture)
    with pytest.raises(ValueError, match="1 unexpected"):
        DinoWM.from_state_dict({**reference.weights, "decoder.weight": torch.zeros(1)}, reference.architecture)


def test_an_image_alone_is_a_goal_but_no_context(model, reference):
    io = reference.io
    bare = model.encode_tokens(io["goal_visual"])
    predicted = model.rollout(model.encode_tokens(io["ctx_visual"], io["ctx_proprio"]), io["actions"][None])
    costs = PatchAndProprio(48)(predicted, bare[:, 0])
    full = model.encode_tokens(io["goal_visual"], io["goal_proprio"])[:, 0]
    assert torch.equal(costs, PatchAndProprio(48, alpha=0)(predicted, full))
    with pytest.raises(ValueError, match="robot state was left out"):
        model.rollout(bare, io["actions"][None])


def test_frames_go_through_an_attached_encoder(reference):
    class Means(nn.Module):
        def forward(self, images):
            patches = nn.functional.avg_pool2d(images, 49).flatten(2).transpose(1, 2)  # (n, 16, 3)
            return patches.repeat(1, 1, 16)

    model = DinoWM.from_state_dict(reference.weights, reference.architecture).attach(Means())
    frames = torch.zeros(1, 2, 100, 300, 3, dtype=torch.uint8)
    frames[:, :, :, 100:200] = 255  # only the centre square is seen
    latents = model.encode(frames, torch.zeros(1, 2, 4))
    assert latents.shape == (1, 2, 16, 58)
    assert (latents[..., :48] - 1).abs().max() < 1e-5
    unnamed = {name: value for name, value in reference.architecture.items() if name != "visual_encoder"}
    with pytest.raises(ValueError, match="names no visual encoder"):
        DinoWM.from_state_dict(reference.weights, unnamed).encode(frames)
