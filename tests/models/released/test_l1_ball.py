"""The projection onto the L1 ball, against the conditions that make it the nearest point."""

import pytest
import torch

from wmplan.models.released.l1_ball import L1Ball


def test_projection_is_the_nearest_point():
    ball = L1Ball(0.075, (0, 1, 2))
    generator = torch.Generator().manual_seed(0)
    actions = 0.1 * torch.randn(2, 50, 3, 14, generator=generator, dtype=torch.float64)  # two robot steps of 7 numbers
    kept = ball.project(actions, 7)
    steps, before = (x.unflatten(-1, (2, 7)) for x in (kept, actions))
    assert steps[..., :3].abs().sum(-1).max() <= 0.075 + 1e-12
    assert torch.equal(steps[..., 3:], before[..., 3:])
    inside = before[..., :3].abs().sum(-1) <= 0.075
    assert torch.equal(steps[inside], before[inside])
    nearest = (steps - before)[..., :3].norm(dim=-1)
    corners = torch.cat([torch.eye(3, dtype=torch.float64), -torch.eye(3, dtype=torch.float64)]) * 0.075
    mixes = torch.rand(200, 6, generator=generator, dtype=torch.float64)
    for point in (mixes / mixes.sum(1, keepdim=True)) @ corners:  # points of the ball are never nearer
        assert (nearest <= (before[..., :3] - point).norm(dim=-1) + 1e-12).all()


def test_excess_tells_what_is_outside():
    ball = L1Ball(1.0, (0, 1))
    actions = torch.tensor([[[[0.5, 0.4, 9.0]], [[0.9, -0.4, 0.0]]]])
    assert torch.allclose(ball.excess(actions, 3), torch.tensor([[-0.1, 0.3]]), atol=1e-6)
    assert (ball.excess(ball.project(actions, 3), 3) <= 1e-6).all()
    with pytest.raises(ValueError, match="radius must be above zero, got 0"):
        L1Ball(0, (0,))
