import itertools

import pytest
import torch

from wmplan.models import JEPA, JEPAConfig


def naive_rollout(model, context, actions, past):
    """rollout() for one robot and one candidate at a time, in plain loops: (T, L), (H, A), (T - 1, A) -> (H, L)."""
    spec = model.spec
    mean = torch.tensor(spec.action_mean * spec.action_block, dtype=context.dtype)
    std = torch.tensor(spec.action_std * spec.action_block, dtype=context.dtype)
    latents, blocks = list(context), list(past)
    while len(latents) < spec.history:  # it stood still before
        latents.insert(0, latents[0])
        blocks.insert(0, torch.zeros(spec.block_dim, dtype=context.dtype))
    predicted = []
    for action in actions:
        blocks.append(action)
        window = torch.stack(latents[-spec.history :])
        normalised = (torch.stack(blocks[-spec.history :]) - mean) / std
        latents.append(model.predictor(window[None], normalised[None])[0])
        predicted.append(latents[-1])
    return torch.stack(predicted)


@pytest.mark.parametrize(
    ("predictor", "history", "batch", "candidates", "horizon"),
    [("mlp", *sizes) for sizes in itertools.product((1, 2, 3), (1, 3), (1, 4), (1, 4))]
    + [("transformer", *sizes) for sizes in itertools.product((1, 3), (2,), (1, 3), (4,))],
)
def test_rollout_is_the_naive_loop(make_jepa, predictor, history, batch, candidates, horizon):
    model = make_jepa(history=history, predictor=predictor).double()
    generator = torch.Generator().manual_seed(1)
    for time in range(1, history + 1):
        context = torch.randn(batch, time, 8, generator=generator, dtype=torch.float64)
        actions = torch.randn(batch, candidates, horizon, 6, generator=generator, dtype=torch.float64)
        past = torch.randn(batch, time - 1, 6, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            predicted = model.rollout(context, actions, past)
            assert predicted.shape == (batch, candidates, horizon, 8)
            for b, s in itertools.product(range(batch), range(candidates)):
                torch.testing.assert_close(predicted[b, s], naive_rollout(model, context[b], actions[b, s], past[b]))


@pytest.mark.parametrize("predictor", ["mlp", "transformer"])
def test_rollout_gradient_matches_finite_differences(make_jepa, predictor):
    model = make_jepa(predictor=predictor).double()
    generator = torch.Generator().manual_seed(2)
    context = torch.randn(1, 2, 8, generator=generator, dtype=torch.float64)
    past = torch.randn(1, 1, 6, generator=generator, dtype=torch.float64)
    actions = torch.randn(1, 2, 3, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: model.rollout(context, a, past)[:, :, -1], (actions,))


def test_a_hidden_state_is_read_between_model_steps_and_others_are_not(make_jepa):
    model = make_jepa(predictor="hidden_state", history=2)
    context, past, actions = torch.randn(2, 2, 8), torch.randn(2, 1, 6), torch.randn(2, 3, 4, 6)
    block = model.spec.action_block
    with torch.no_grad():
        every = model.rollout_at(context, actions, past, range(1, 4 * block + 1))
        torch.testing.assert_close(every[:, :, block - 1 :: block], model.rollout(context, actions, past))
        torch.testing.assert_close(every[:, :, -1:], model.rollout_last(context, actions, past))
    assert model.reads_robot_steps and not make_jepa().reads_robot_steps
    with pytest.raises(ValueError, match="only predictor='hidden_state' is read between model steps, got 'mlp'"):
        make_jepa().rollout_at(context, actions, past, [1])


def test_an_action_changes_only_what_comes_after_it(make_jepa):
    model = make_jepa(history=3)
    context, past = torch.randn(1, 3, 8), torch.randn(1, 2, 6)
    actions = torch.randn(1, 1, 4, 6)
    changed = actions.clone()
    changed[:, :, 2] += 1.0
    with torch.no_grad():
        before, after = model.rollout(context, actions, past), model.rollout(context, changed, past)
    assert torch.equal(before[:, :, :2], after[:, :, :2])
    assert not torch.isclose(before[:, :, 2:], after[:, :, 2:]).all(-1).any()


def test_predict_windows_is_the_rollout_of_the_recorded_actions(make_jepa):
    model = make_jepa(history=3).double()
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(4, 6, 8, generator=generator, dtype=torch.float64)
    actions = torch.randn(4, 5, 6, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        for context in (1, 2, 3):
            predicted = model.predict_windows(latents, actions, context)
            assert predicted.shape == (4, 6 - context, 8)
            for n in range(4):
                past, future = actions[n, : context - 1], actions[n, context - 1 :]
                expected = naive_rollout(model, latents[n, :context], future, past)
                torch.testing.assert_close(predicted[n], expected)
        assert torch.equal(model.predict_windows(latents, actions), model.predict_windows(latents, actions, 3))


def test_predict_windows_says_which_shapes_do_not_go_together(make_jepa):
    with pytest.raises(ValueError, match=r"got \(4, 6, 8\) and \(4, 6, 6\)"):
        make_jepa().predict_windows(torch.zeros(4, 6, 8), torch.zeros(4, 6, 6))


@pytest.mark.parametrize(("batch", "time"), [(1, 1), (3, 2)])
@pytest.mark.parametrize("proprio", [0, 2])
def test_encode_shapes(make_jepa, frames, batch, time, proprio):
    model = make_jepa(proprio=proprio)
    assert model.encode_visual(frames(batch, time)).shape == (batch, time, 6)
    assert model.encode(frames(batch, time)).shape == (batch, time, 6 + proprio)


def test_proprio_is_standardised_or_read_off_the_frame(make_jepa, frames):
    model = make_jepa()
    proprio = torch.tensor([0.65, 1.5]).expand(2, 2, 2)  # one deviation above the means 0.4 and -0.5
    with torch.no_grad():
        given, filled = model.encode(frames(), proprio), model.encode(frames())
        torch.testing.assert_close(given[..., 6:], torch.ones(2, 2, 2))
        assert torch.equal(given[..., :6], filled[..., :6])
        torch.testing.assert_close(filled[..., 6:], model.proprio_head(filled[..., :6]))


def test_what_is_read_off_a_latent_is_what_a_frame_alone_gives(make_jepa, frames):
    model = make_jepa().eval()
    latents = model.encode(frames())
    torch.testing.assert_close(model.read_proprio(latents), latents[..., model.visual_dim :])
    own = torch.randn(*latents.shape[:2], model.spec.proprio_dim)
    torch.testing.assert_close(model.read_proprio(model.encode(frames(), own)), latents[..., model.visual_dim :])


def test_a_frame_is_encoded_alike_in_any_batch_and_mode(make_jepa, frames):
    model = make_jepa()
    many = frames(5, 3)
    with torch.no_grad():
        together = model.encode(many)
        torch.testing.assert_close(together[2:3, 1:2], model.encode(many[2:3, 1:2]))
        torch.testing.assert_close(together, model.train().encode(many))


def test_several_cameras_in_the_order_of_the_spec(make_jepa, frames):
    model = make_jepa(cameras=("top", "observation.wrist"), proprio=0)
    top, wrist = frames(seed=1), frames(seed=2)
    with torch.no_grad():
        latents = model.encode({"observation.wrist": wrist, "top": top})
        torch.testing.assert_close(latents[..., :6].flatten(0, 1), model.encoder[0](top.flatten(0, 1)))
        torch.testing.assert_close(latents[..., 6:].flatten(0, 1), model.encoder[1](wrist.flatten(0, 1)))
    with pytest.raises(ValueError, match=r"frames lack the camera 'observation\.wrist', there are 'top'"):
        model.encode({"top": top})
    with pytest.raises(ValueError, match="takes a mapping with the cameras top, observation.wrist"):
        model.encode(top)


def test_visual_latents_are_standardised(make_jepa, frames):
    model = make_jepa(proprio=0)
    with torch.no_grad():
        raw = model.encode(frames(8, 4))
        model.visual_mean.copy_(raw.mean((0, 1)))
        model.visual_std.copy_(raw.std((0, 1)))
        latents = model.encode(frames(8, 4)).flatten(0, 1)
    torch.testing.assert_close(latents.mean(0), torch.zeros(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(latents.std(0), torch.ones(6))


def with_nan(tensor):
    tensor.view(-1)[3] = float("nan")
    return tensor


@pytest.mark.parametrize(
    ("given", "proprio", "message"),
    [
        (torch.zeros(1, 1, 16, 24, 3), None, "frames must be uint8 RGB, got float32"),
        (
            torch.zeros(1, 1, 24, 16, 3, dtype=torch.uint8),
            None,
            r"frames have shape \(1, 1, 24, 16, 3\), the model takes \(B, T, 16, 24, 3\)",
        ),
        (torch.zeros(1, 16, 24, 3, dtype=torch.uint8), None, r"frames have shape \(1, 16, 24, 3\), the model takes"),
        (
            torch.zeros(1, 2, 16, 24, 3, dtype=torch.uint8),
            torch.zeros(1, 1, 2),
            r"beside these frames proprio must have shape \(1, 2, 2\), got \(1, 1, 2\)",
        ),
        (
            torch.zeros(1, 2, 16, 24, 3, dtype=torch.uint8),
            with_nan(torch.zeros(1, 2, 2)),
            "proprio holds numbers that are not finite",
        ),
    ],
)
def test_encode_names_what_is_wrong(make_jepa, given, proprio, message):
    with pytest.raises(ValueError, match=message):
        make_jepa().encode(given, proprio)


@pytest.mark.parametrize(
    ("context", "actions", "past", "message"),
    [
        (
            (1, 3, 8),
            (1, 4, 5, 6),
            (1, 2, 6),
            r"context must have shape \(B, T, 8\) with T from 1 to 2, got \(1, 3, 8\)",
        ),
        ((1, 1, 7), (1, 4, 5, 6), None, r"context must have shape \(B, T, 8\) with T from 1 to 2, got \(1, 1, 7\)"),
        ((1, 1, 8), (1, 4, 5, 3), None, r"actions must have shape \(1, S, H, 6\), got \(1, 4, 5, 3\)"),
        ((1, 1, 8), (2, 4, 5, 6), None, r"actions must have shape \(1, S, H, 6\), got \(2, 4, 5, 6\)"),
        ((1, 2, 8), (1, 4, 5, 6), None, r"past_actions must be \(1, 1, 6\), got missing"),
        ((1, 2, 8), (1, 4, 5, 6), (1, 2, 6), r"past_actions must be \(1, 1, 6\), got of shape \(1, 2, 6\)"),
    ],
)
def test_rollout_names_what_is_wrong(make_jepa, context, actions, past, message):
    with pytest.raises(ValueError, match=message):
        make_jepa().rollout(torch.zeros(context), torch.zeros(actions), None if past is None else torch.zeros(past))


def test_an_untrained_predictor_says_that_nothing_moves(make_jepa):
    spec = make_jepa().spec
    for predictor in ("mlp", "transformer"):
        model = JEPA(JEPAConfig(latent_dim=6, predictor=predictor), spec)
        context = torch.randn(2, 2, 8)
        with torch.no_grad():
            predicted = model.rollout(context, torch.randn(2, 3, 4, 6), torch.randn(2, 1, 6))
        torch.testing.assert_close(predicted, context[:, -1, None, None].expand(2, 3, 4, 8))


def test_options_that_do_not_exist_are_named(make_jepa):
    spec = make_jepa().spec
    for config, message in [
        (JEPAConfig(encoder="keypoints"), "there is no encoder 'keypoints'; did you mean 'keypoint'?"),
        (
            JEPAConfig(latent_dim=6, encoder_options={"chanels": 3}),
            "no key 'encoder_options.chanels'; did you mean",
        ),
        (
            JEPAConfig(latent_dim=6, predictor="rnn"),
            "there is no predictor 'rnn'; it is one of hidden_state, mlp, recurrent, transformer",
        ),
        (JEPAConfig(latent_dim=6, predictor_options={"width": 0}), "mlp predictor: width must be at least 1, got 0"),
        (
            JEPAConfig(latent_dim=6, critic=True, critic_options={"kind": "l2"}),
            "critic: kind must be one of quasimetric, mlp, interaction, got 'l2'",
        ),
        (
            JEPAConfig(latent_dim=5),
            "latent_shape must be (7,) with latent_dim 5, robot_dim 0, 1 camera(s) and proprio_dim 2, got (8,)",
        ),
        (JEPAConfig(latent_dim=6, encoder_options={"downsample": 5}), "downsample is 5, it has to divide both sides"),
    ]:
        latent_dim = config.latent_dim if config.latent_dim != 32 else 6
        with pytest.raises(ValueError) as raised:
            JEPA(JEPAConfig(**{**vars(config), "latent_dim": latent_dim}), spec)
        assert message in str(raised.value)
