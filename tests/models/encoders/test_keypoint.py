import pytest
import torch
from torch.nn import functional as F

from wmplan.models.encoders import make_encoder
from wmplan.models.encoders.keypoint import SpatialSoftmax
from wmplan.models.encoders.pixels import space_to_depth


@pytest.mark.parametrize(("row", "column"), [(7.3, 4.8), (10.0, 10.5), (5.25, 11.9)])
def test_spatial_softmax_finds_a_blob_between_the_cells(row, column):
    """A softmax of -d^2 / (2 s^2) is a Gaussian of deviation s: its mean is the centre, its spread sqrt(2) s."""
    height, width, sigma = 16, 20, 1.5
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    heatmap = -((rows - row) ** 2 + (columns - column) ** 2) / (2 * sigma**2)
    sharpness = heatmap.std(correction=0).item()  # undoes the standardisation
    softmax = SpatialSoftmax(1, height, width, sharpness=sharpness, spread=True).double()
    with torch.no_grad():
        x, y, spread = softmax(heatmap[None, None].double())[0, 0].tolist()
    assert (x + 1) / 2 * (width - 1) == pytest.approx(column, abs=0.05)
    assert (y + 1) / 2 * (height - 1) == pytest.approx(row, abs=0.05)
    scale = ((2 / (height - 1)) ** 2 + (2 / (width - 1)) ** 2) ** 0.5
    assert spread == pytest.approx(sigma * scale, rel=0.02)


def test_a_sharper_softmax_goes_to_the_peak():
    heatmap = torch.zeros(1, 1, 5, 5)
    heatmap[0, 0, 1, 4] = 1.0
    with torch.no_grad():
        flat = SpatialSoftmax(1, 5, 5, sharpness=1e-6)(heatmap)
        sharp = SpatialSoftmax(1, 5, 5, sharpness=50.0)(heatmap)
    torch.testing.assert_close(flat, torch.zeros(1, 1, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(sharp, torch.tensor([[[1.0, -0.5]]]), atol=1e-5, rtol=0)


def test_space_to_depth_holds_what_pixel_unshuffle_holds():
    frames = torch.randint(0, 256, (2, 8, 12, 3), dtype=torch.uint8)
    cells = space_to_depth(frames, 4)
    reference = F.pixel_unshuffle(frames.permute(0, 3, 1, 2), 4)  # channel, then row and column in the cell
    ours = cells.unflatten(-1, (4, 4, 3)).permute(0, 5, 3, 4, 1, 2).flatten(1, 3)
    assert torch.equal(ours, reference)


def test_keypoints_follow_what_moves():
    """One filter that answers to white: its keypoint is the white square's place, wherever that is."""
    encoder = make_encoder("keypoint", (64, 64), 4, channels=(1,), first_kernel=1, keypoints=1)
    with torch.no_grad():
        encoder.convolutions[0].weight.fill_(1.0)
        encoder.convolutions[0].bias.zero_()
        encoder.heatmaps.weight.fill_(1.0)
        for row, column in [(4, 40), (32, 20)]:
            frame = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
            frame[0, row : row + 8, column : column + 8] = 255
            x, y = encoder.keypoints(frame)[0, 0].tolist()
            centre = [(place / 4 + 0.5) / 7.5 - 1 for place in (column, row)]  # of the two cells a side it covers
            assert [x, y] == pytest.approx(centre, abs=0.01)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stem": "stride"},
        {"residual_blocks": 1},
        {"hidden": 0},
        {"spread": True},
        {"downsample": 8, "keypoints": 3},
        {"channels": [8], "first_kernel": 5},
    ],
)
def test_every_option_reaches_every_parameter(options):
    encoder = make_encoder("keypoint", (16, 24), 6, **options)
    frames = torch.randint(0, 256, (3, 16, 24, 3), dtype=torch.uint8)
    latents = encoder(frames)
    assert latents.shape == (3, 6)
    latents.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in encoder.parameters())


def test_wrong_values_are_named():
    for options, message in [
        ({"stem": "conv"}, "stem is 'conv', it has to be 'unshuffle' or 'stride'"),
        ({"stem": "stride", "downsample": 6}, "downsample is 6, a stem of strides takes a power of two"),
        ({"first_kernel": 2}, "first_kernel is 2, it has to be odd"),
        ({"keypoints": 0}, "keypoint encoder: keypoints is 0"),
        ({"channels": []}, "keypoint encoder: channels is 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            make_encoder("keypoint", (24, 24), 6, **options)
