"""V-JEPA 2-AC against the numbers of the reference implementation."""

import numpy as np
import pytest
import torch

from wmplan.control.make import make_controller
from wmplan.models.released.frame_causal import KVCache
from wmplan.models.released.objectives import TokenMeanAbsoluteError
from wmplan.models.released.vjepa2_ac import VJepa2AC

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def reference(parity):
    return parity("vjepa2_ac")


@pytest.fixture(scope="module")
def model(reference):
    return VJepa2AC.from_state_dict(reference.weights, reference.architecture)


@pytest.fixture(autouse=True)
def no_grad():
    with torch.inference_mode():
        yield


def test_encoder_matches(model, reference):
    io = reference.io
    images = model.preprocess(io["frames_uint8"])
    assert reference.worst(images, "frames_preprocessed") <= TOLERANCE
    raw = model.encoder(images[:, None].expand(-1, 2, -1, -1, -1))
    assert reference.worst(raw, "enc_tokens_raw") <= TOLERANCE
    tokens, poses = model.split(model.encode(io["frames_uint8"][None], io["pose0"].expand(1, 3, 7)))
    assert reference.worst(tokens[0], "enc_tokens") <= TOLERANCE
    assert torch.equal(poses[0, 2], io["pose0"][0])
    clip = images[[0, 1, 2, 0]][None]
    assert reference.worst(model.encoder(clip), "video_clip_tokens") <= TOLERANCE


def test_rollout_matches(model, reference):
    io = reference.io
    context = model.encode_tokens(io["enc_tokens"][None, :1], io["pose0"][None])
    predicted = model.rollout(context, io["actions"][None])
    tokens, poses = model.split(predicted[0])
    assert reference.worst(tokens[:, 0], "pred1") <= TOLERANCE
    assert (tokens - io["rollout_tokens"][:, 1:]).abs().max() <= TOLERANCE
    assert (poses - io["rollout_poses"][:, 1:]).abs().max() <= TOLERANCE
    objective = TokenMeanAbsoluteError(16 * 66)
    goal = model.encode_tokens(io["enc_tokens"][None, 2:])[:, 0]  # the goal's pose is unknown
    assert reference.worst(objective(predicted, goal)[0], "cost") <= TOLERANCE
    steps = torch.stack([objective(predicted[:, :, : h + 1], goal)[0] for h in range(5)], dim=1)
    assert reference.worst(steps, "cost_steps") <= TOLERANCE


def test_predictor_matches_at_every_frame(model, reference):
    io = reference.io
    tokens, states, actions = io["enc_tokens"][None], io["tf_states"], io["tf_actions"]
    raw = model.predictor(tokens, states, actions, 0, KVCache(18), newest_only=False).flatten(1, 2)
    assert reference.worst(raw, "tf_pred_raw") <= TOLERANCE
    assert reference.worst(model.normalise_tokens(raw), "tf_pred") <= TOLERANCE
    start = tokens[:, :1].expand(4, -1, -1, -1), io["pose0"].expand(4, 1, 7)
    one = model.predictor(*start, io["actions"][:, :1], 0, KVCache(18))[:, 0]
    assert reference.worst(one, "pred1_raw") <= TOLERANCE


def test_three_context_frames_that_are_shared_give_the_same(model, reference):
    io = reference.io
    context = model.encode_tokens(io["enc_tokens"][None], io["tf_states"])
    actions = io["tf_actions"]
    candidates = torch.cat([actions[:, None, 2:], torch.zeros(1, 5, 1, 7)], dim=1)  # the reference's, and five others
    tokens, _ = model.split(model.rollout(context, candidates, actions[:, :2]))
    assert (tokens[0, 0, 0] - io["tf_pred"][0, 32:]).abs().max() <= TOLERANCE


def test_sharing_and_chunks_change_nothing(model, reference):
    generator = torch.Generator().manual_seed(0)
    tokens = reference.io["enc_tokens"][None].repeat(2, 1, 1, 1)
    context = model.encode_tokens(tokens, 0.3 * torch.randn(2, 3, 7, generator=generator))
    past, actions = (0.1 * torch.randn(*shape, 7, generator=generator) for shape in ((2, 2), (2, 5, 3)))
    whole = model.rollout(context, actions, past)
    model.max_batch_bytes = 3 * model.candidate_bytes(1, 2)
    try:
        chunked = model.rollout(context, actions, past)
    finally:
        del model.max_batch_bytes
    alone = torch.stack([model.rollout(context, actions[:, s : s + 1], past)[:, 0] for s in range(5)], 1)
    assert (whole - chunked).abs().max() <= 1e-4
    assert (whole - alone).abs().max() <= 1e-4


def test_more_frames_than_the_predictor_was_made_for_are_refused(model, reference):
    context = model.encode_tokens(reference.io["enc_tokens"][None, :1], reference.io["pose0"][None])
    with pytest.raises(ValueError, match="make 9 frames, the predictor takes 8 at most"):
        model.rollout(context, torch.zeros(1, 1, 9, 7))


def test_unused_encoder_entries_are_left_aside(model, reference):
    weights = {**reference.weights, "encoder.pos_embed": torch.zeros(1, 16, 66)}
    VJepa2AC.from_state_dict(weights, reference.architecture)
    del weights["predictor.extrinsics_encoder.bias"]
    with pytest.raises(ValueError, match=r"1 missing \(predictor.extrinsics_encoder.bias\)"):
        VJepa2AC.from_state_dict(weights, reference.architecture)


def test_latents_stay_precise_in_half_precision(model, reference):
    """The pose is a matter of millimetres: bfloat16 would lose them."""
    half = VJepa2AC.from_state_dict(reference.weights, reference.architecture).to(torch.bfloat16)
    context = half.encode_tokens(reference.io["enc_tokens"][None, :1], reference.io["pose0"][None])
    _, poses = half.split(half.rollout(context, reference.io["actions"][None]))
    assert (poses[0] - reference.io["rollout_poses"][:, 1:]).abs().max() <= 1e-5


def test_plans_stay_in_the_l1_ball_of_its_own_planner(model):
    """Most actions within the bounds are outside: three axes of up to 7.5 cm against 7.5 cm in all."""
    planner = {"name": "cem", "num_samples": 12, "num_iterations": 2, "num_elites": 3, "horizon": 1, "init_std": 1.0}
    controller = make_controller(model, planner, {"native": {}})
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2, *model.spec.image_size, 3), np.uint8)
    goal, seen = ({"pixels": frame, "proprio": np.zeros(7, np.float32)} for frame in frames)
    controller.reset(goal, seeds=0)
    controller.act(seen)
    plan = controller.last_plan
    assert plan is not None
    assert float(plan.actions.reshape(-1, 7)[:, :3].abs().sum(-1).max()) <= 0.075 + 1e-6
