"""The loss over long rollouts at the robot's rate, against the model's own rollout()."""

import torch

from wmplan.models import JEPA, JEPAConfig, ModelSpec
from wmplan.training.dense_dynamics import dense_dynamics_loss, window_rows
from wmplan.training.windows import DYNAMICS_STEPS


def make_model() -> JEPA:
    spec = ModelSpec((64, 64), 3, 4, (-1.0, -1.0), (1.0, 1.0), (0.1, 0.0), (0.5, 2.0), (4,))
    encoder = {"channels": [8], "keypoints": 4, "hidden": 8}
    options = {"hidden": 8, "width": 16, "bfloat16": False}
    config = JEPAConfig("keypoint", encoder, 4, predictor="hidden_state", predictor_options=options)
    torch.manual_seed(0)
    model = JEPA(config, spec)
    for parameter in model.predictor.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    model.whitening.copy_(torch.randn(4, 4))
    return model


def test_latents_that_go_as_the_model_says_cost_nothing() -> None:
    """Whole windows are made of what the model predicts, from contexts of full length and of one frame."""
    model, generator = make_model(), torch.Generator().manual_seed(1)
    rows = window_rows(model)
    assert rows == (2 + DYNAMICS_STEPS) * 4 + 1
    latents, actions = torch.randn(6, rows, 4, generator=generator), torch.randn(6, rows - 1, 2, generator=generator)
    blocks = actions.unflatten(1, (-1, 4)).flatten(2)  # (N, model steps, A)
    for full in (True, False):
        made = latents.clone()
        with torch.no_grad():
            context, past = (made[:, [0, 4, 8]], blocks[:, :2]) if full else (made[:, [8]], None)
            normalised = model.normalise_actions(blocks[:, None, 2:])
            moved = model.predictor.robot_steps(normalised)
            made[:, 9:] = model.predictor.predict_at(*model.window(context, past), moved, range(1, 21))[:, 0]
            torch.testing.assert_close(made[:, 12::4], model.rollout(context, blocks[:, None, 2:], past)[:, 0])
        costs = set()
        for seed in range(30):  # a fifth of the batches has one frame of context
            loss, figures = dense_dynamics_loss(
                model, {"latent": made, "action": actions}, torch.Generator().manual_seed(seed)
            )
            costs.add(loss.item() < 1e-10)
            assert (figures["squared"] < 1e-10) == (loss.item() < 1e-10)
        assert costs == {True, False}  # right for the length of context that the window was made with


def test_a_gradient_reaches_every_weight() -> None:
    model, generator = make_model(), torch.Generator().manual_seed(1)
    rows = window_rows(model)
    batch = {
        "latent": torch.randn(6, rows, 4, generator=generator),
        "action": torch.randn(6, rows - 1, 2, generator=generator),
    }
    dense_dynamics_loss(model, batch, generator, noise=0.1, bfloat16=True)[0].backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.predictor.parameters())
