import pytest
import torch

from wmplan.models.predictors import make_predictor


def untidy(**options):
    """A predictor whose every weight counts: as made, its transitions begin with no effect."""
    torch.manual_seed(0)
    predictor = make_predictor("hidden_state", 4, 6, 2, 3, **{"hidden": 8, "width": 16, **options}).double()
    for parameter in predictor.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return predictor


def window(batch=2, candidates=5, horizon=3):
    generator = torch.Generator().manual_seed(1)
    shapes = (batch, 2, 4), (batch, 1, 6), (batch, candidates, horizon, 6)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def test_rollout_reads_the_state_after_each_model_step_of_one_candidate_at_a_time():
    predictor = untidy()
    context, past, actions = window()
    with torch.no_grad():
        predicted = predictor.rollout(context, past, actions)
        assert predicted.shape == (2, 5, 3, 4)
        for robot in range(2):
            first = predictor.begin(list(context[robot]), list(past[robot]))
            for candidate in range(5):
                state, steps = first, actions[robot, candidate].reshape(9, 2)  # oldest robot step first
                for number, action in enumerate(steps, 1):
                    for transition in predictor.transitions:
                        state = transition(state, action)
                    if number % 3 == 0:
                        torch.testing.assert_close(predicted[robot, candidate, number // 3 - 1], predictor.read(state))


@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_the_last_step_alone_is_the_last_of_all(horizon):
    predictor = untidy()
    context, past, actions = window(horizon=horizon)
    with torch.no_grad():
        last = predictor.rollout(context, past, actions, last_only=True)
        torch.testing.assert_close(last, predictor.rollout(context, past, actions)[:, :, -1:])


def test_a_step_is_a_rollout_of_one():
    predictor = untidy()
    context, past, actions = window(candidates=1, horizon=1)
    with torch.no_grad():
        step = predictor(context, torch.cat([past, actions[:, 0]], 1))
        torch.testing.assert_close(step, predictor.rollout(context, past, actions)[:, 0, 0])


def test_latents_between_model_steps_are_those_that_the_robot_steps_lead_to():
    predictor = untidy()
    context, past, actions = window()
    with torch.no_grad():
        given = predictor.predict_at(context, past, predictor.robot_steps(actions), [2, 3, 7])
        torch.testing.assert_close(given[:, :, 1], predictor.rollout(context, past, actions)[:, :, 0])
        changed = predictor.robot_steps(actions).clone()
        changed[:, :, 2:] += 1.0  # from the third robot step on
        again = predictor.predict_at(context, past, changed, [2, 3, 7])
    torch.testing.assert_close(again[:, :, 0], given[:, :, 0])
    assert not torch.isclose(again[:, :, 1:], given[:, :, 1:]).all(-1).any()


def test_the_window_is_encoded_once_for_all_candidates_and_latents_are_read_where_asked():
    predictor = untidy()
    began, read = [], []
    predictor.begin_layers.register_forward_hook(lambda _, inputs, output: began.append(inputs[0].shape[:2].numel()))
    predictor.read_layers.register_forward_hook(lambda _, inputs, output: read.append(inputs[0].shape[:3].numel()))
    context, past, actions = window(candidates=50)
    with torch.no_grad():
        predictor.rollout(context, past, actions, last_only=True)
    assert (began, read) == ([2], [2 * 50])


def test_without_an_action_block_a_model_step_is_one_robot_step():
    predictor = make_predictor("hidden_state", 4, 3, 1, hidden=8, width=16)
    predicted = predictor.rollout(torch.randn(1, 1, 4), torch.randn(1, 0, 3), torch.randn(1, 7, 2, 3))
    assert predicted.shape == (1, 7, 2, 4)


def test_learns_a_motion_that_takes_two_frames_to_see():
    """A point that glides on at its velocity, pushed at every robot step: read off after one and two model steps."""
    torch.manual_seed(0)
    predictor = make_predictor("hidden_state", 1, 2, 2, 2, hidden=16, width=32, depth=1)
    optimizer = torch.optim.Adam(predictor.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(500):
        velocity, place = torch.randn(2, 128, generator=generator)
        pushes = torch.randn(128, 1, 2, 2, generator=generator)
        context = torch.stack([place - 2 * velocity, place], 1)[..., None]
        speeds = velocity[:, None] + pushes.flatten(1).cumsum(1)
        target = (place[:, None] + speeds.cumsum(1))[:, [1, 3]]
        loss = (predictor.rollout(context, torch.zeros(128, 1, 2), pushes)[:, 0, :, 0] - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    still = (place[:, None] - target).square().mean()
    assert loss < 0.03 * still


def test_products_in_bfloat16_change_little_and_only_without_gradients():
    exact, rounded = (untidy(bfloat16=rounds).float() for rounds in (False, True))
    for transition in exact.transitions:
        transition.outer.weight.data *= 0.1  # a robot step moves the state little
    rounded.load_state_dict(exact.state_dict())
    given = [part.float() for part in window()]
    torch.testing.assert_close(rounded.rollout(*given), exact.rollout(*given))  # with gradients nothing is rounded
    with torch.no_grad():
        wanted, found = exact.rollout(*given), rounded.rollout(*given)
    assert found.dtype == torch.float32
    error = (found - wanted).abs().max() / wanted.std()
    assert 0 < error < 0.03
