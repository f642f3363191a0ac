import torch

from wmplan.models import Decoder


def test_small_and_of_the_right_shape():
    decoder = Decoder(34, (64, 64)).eval()
    pictures = decoder(100 * torch.randn(2, 34))
    assert pictures.shape == (2, 64, 64, 3)
    assert 0 <= pictures.min() <= pictures.max() <= 1
    assert sum(parameter.numel() for parameter in decoder.parameters()) < 150_000


def test_learns_to_draw_where_the_latent_says():
    torch.manual_seed(0)
    decoder = Decoder(2, (16, 24), width=32)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(0)

    def draw(points):
        """A white 4 x 4 square on black at (row, column), of shape (N, 16, 24, 3)."""
        rows = (torch.arange(16)[None] - points[:, :1] * 16).abs() < 2
        columns = (torch.arange(24)[None] - points[:, 1:] * 24).abs() < 2
        return (rows[:, :, None] & columns[:, None])[..., None].expand(-1, -1, -1, 3).float()

    for _ in range(300):
        points = 0.15 + 0.7 * torch.rand(32, 2, generator=generator)
        loss = (decoder(points) - draw(points)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    points = torch.tensor([[0.3, 0.7], [0.6, 0.25]])
    with torch.no_grad():
        pictures = decoder.eval()(points).mean(-1)
    bright = (pictures - 0.3).clamp(min=0)
    weights = bright / bright.sum((1, 2), keepdim=True)
    row = (weights.sum(2) * torch.arange(16)).sum(1) / 16
    column = (weights.sum(1) * torch.arange(24)).sum(1) / 24
    torch.testing.assert_close(torch.stack([row, column], 1), points, atol=0.06, rtol=0)
