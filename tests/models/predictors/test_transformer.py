import torch

from wmplan.models.predictors import make_predictor


def test_uses_every_frame_and_action_of_the_window():
    predictor = make_predictor("transformer", 4, 3, 3, width=8, depth=2, heads=2)
    for parameter in predictor.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    latents, actions = torch.randn(1, 3, 4, requires_grad=True), torch.randn(1, 3, 3, requires_grad=True)
    predictor(latents, actions).sum().backward()
    assert (latents.grad.abs().sum(-1) > 0).all()
    assert (actions.grad.abs().sum(-1) > 0).all()


def test_learns_a_motion_that_takes_two_frames_to_see():
    """A point that glides on at its velocity, sped up by the action: z' = 2 z - z_before + a."""
    torch.manual_seed(0)
    predictor = make_predictor("transformer", 1, 1, 2, width=32, depth=2, heads=2)
    optimizer = torch.optim.Adam(predictor.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(400):
        latents, actions = torch.randn(2, 128, 2, 1, generator=generator)
        target = 2 * latents[:, 1] - latents[:, 0] + actions[:, 1]
        loss = (predictor(latents, actions) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    still = (latents[:, 1] - target).square().mean()
    assert loss < 0.05 * still
