import pytest
import torch

from wmplan.errors import UserError
from wmplan.models import Decoder, SpriteDecoder
from wmplan.models.decoder import make_decoder


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


def test_sprites_learn_where_a_bar_lies_and_how_it_is_turned():
    torch.manual_seed(0)
    decoder = SpriteDecoder(4, (24, 24), sprites=2, size=16, width=64)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(0)
    ys, xs = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")

    def scenes(count):
        """Latents (N, 4), a bar's middle and direction, and pictures (N, 24, 24) of it, 12 x 4 pixels."""
        middle = 8 + 8 * torch.rand(count, 2, generator=generator)
        angle = torch.pi * torch.rand(count, generator=generator)
        x, y = xs - middle[:, 0, None, None], ys - middle[:, 1, None, None]
        cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
        along, across = x * cos + y * sin, y * cos - x * sin
        picture = ((along.abs() < 6) & (across.abs() < 2)).float()
        # Twice the angle: a bar turned by half a turn is the same.
        return torch.cat([middle / 12 - 1, (2 * angle).cos()[:, None], (2 * angle).sin()[:, None]], 1), picture

    decoder.start_from((255 * scenes(64)[1]).to(torch.uint8)[..., None].expand(-1, -1, -1, 3))
    for _ in range(600):
        latents, pictures = scenes(32)
        loss = (decoder(latents) - pictures[..., None]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    latents, pictures = scenes(64)
    with torch.no_grad():
        drawn = decoder.eval()(latents).mean(-1)

    def lie(pictures):
        """Middle, in pixels, and axis as the cosine and sine of twice its angle, by moments of what is bright."""
        weights = pictures / pictures.sum((1, 2), keepdim=True)
        x, y = (weights * xs).sum((1, 2)), (weights * ys).sum((1, 2))
        dx, dy = xs - x[:, None, None], ys - y[:, None, None]
        axis = torch.stack([(weights * (dx**2 - dy**2)).sum((1, 2)), (2 * weights * dx * dy).sum((1, 2))], 1)
        return torch.stack([x, y], 1), torch.nn.functional.normalize(axis, dim=1)

    (middle, axis), (true_middle, true_axis) = lie(drawn.clamp(0, 1)), lie(pictures)
    assert (middle - true_middle).norm(dim=1).median() < 1
    assert (axis * true_axis).sum(1).median() > 0.95  # within 9 degrees


@pytest.mark.parametrize("size", [(64, 64), (64, 128), (128, 64)])
def test_a_sprite_that_is_turned_keeps_its_shape(size):
    decoder = SpriteDecoder(4, size, sprites=1, size=32).eval()
    pictures = []
    with torch.no_grad():
        decoder.background.zero_()
        decoder.colour.fill_(1.0)
        decoder.opacity.fill_(-20.0)
        decoder.opacity[0, 0, 13:19, 4:28] = 20.0  # a bar
        last = decoder.poses[-1]
        last.weight.zero_()
        for direction in ((1.0, 0.0), (0.0, 1.0)):
            last.bias.zero_()
            last.bias.view(-1, 3, 2)[0, 1] = torch.tensor(direction)
            pictures.append(decoder(torch.zeros(1, 4))[0, ..., 0] > 0.5)
    (rows, columns), (turned_rows, turned_columns) = (
        (int(one.any(1).sum()), int(one.any(0).sum())) for one in pictures
    )
    assert columns > 2 * rows and abs(turned_rows - columns) <= 1 and abs(turned_columns - rows) <= 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kind": "sprites", "extent": 0.0}, "extent must be finite and above 0, got 0.0"),
        ({"kind": "sprites", "extent": float("inf")}, "extent must be finite and above 0, got inf"),
        ({"kind": ["sprites"]}, "there is no kind"),
        ({"kind": "sprite"}, "did you mean 'sprites'"),
        ({"kind": "sprites", "cell": 4}, "there is no key 'decoder_options.cell'"),
    ],
)
def test_wrong_options_are_named_when_the_model_is_made(options, says):
    with pytest.raises(UserError, match=says):
        make_decoder(4, (32, 32), options)
