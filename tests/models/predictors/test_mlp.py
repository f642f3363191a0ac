import torch
from torch.nn import functional as F

from wmplan.models.predictors import make_predictor


def test_the_split_first_layer_is_one_layer_on_the_concatenated_window():
    predictor = make_predictor("mlp", 4, 3, 2, width=8, depth=1).double()
    torch.nn.init.normal_(predictor.out.weight)
    latents, actions = torch.randn(5, 2, 4, dtype=torch.float64), torch.randn(5, 2, 3, dtype=torch.float64)
    weight = torch.cat([layer.weight for layer in [*predictor.latent_in, *predictor.action_in]], 1)
    hidden = F.linear(torch.cat([latents.flatten(1), actions.flatten(1)], 1), weight, predictor.latent_in[0].bias)
    expected = latents[:, -1] + predictor.out(predictor.norm(predictor.blocks(hidden)))
    torch.testing.assert_close(predictor(latents, actions), expected)


def test_what_candidates_share_is_computed_once():
    """The first step sends one row a robot, not one a candidate, through the maps of the context."""
    predictor = make_predictor("mlp", 4, 3, 3, width=8, depth=1)
    rows = []
    for layer in predictor.latent_in:
        layer.register_forward_hook(lambda _, inputs, output: rows.append(inputs[0].shape[:2].numel()))
    with torch.no_grad():
        predictor.rollout(torch.randn(2, 3, 4), torch.randn(2, 2, 3), torch.randn(2, 50, 2, 3))
    assert rows == [2, 2, 2, 2, 2, 100]  # step 1: all three frames are context; step 2: the newest is a prediction
