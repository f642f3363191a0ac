import math

import pytest
import torch
from torch.nn import functional as F

from wmplan.models.encoders import make_encoder
from wmplan.models.encoders.keypoint import KeypointEncoder, SpatialSoftmax
from wmplan.models.encoders.pixels import space_to_depth


@pytest.mark.parametrize(("row", "column", "angle"), [(7.3, 9.8, 0.0), (8.0, 10.5, 0.7), (7.25, 10.1, -1.2)])
def test_spatial_softmax_gives_the_moments_of_a_blob_between_the_cells(row, column, angle):
    """A softmax of minus half a Mahalanobis distance is a Gaussian: its moments are the mean and the covariance."""
    height, width = 16, 20
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    covariance = turn @ torch.diag(torch.tensor([2.0, 0.8])) @ turn.T  # of (x, y), in cells
    y, x = torch.meshgrid(torch.arange(height) - row, torch.arange(width) - column, indexing="ij")
    offset = torch.stack([x, y], -1)
    heatmap = -0.5 * torch.einsum("hwi,ij,hwj->hw", offset, torch.linalg.inv(covariance), offset)
    softmax = SpatialSoftmax(1, height, width, sharpness=1.0).double()
    with torch.no_grad():
        found = softmax(heatmap[None, None].double())[0, 0]
    cell = torch.tensor([2 / (width - 1), 2 / (height - 1)])
    assert (found[0] + 1) / cell[0] == pytest.approx(column, abs=0.05)
    assert (found[1] + 1) / cell[1] == pytest.approx(row, abs=0.05)
    expected = covariance * cell[:, None] * cell * SpatialSoftmax.SECOND
    torch.testing.assert_close(
        found[2:].float(), torch.stack([expected[0, 0], expected[0, 1], expected[1, 1]]), rtol=0.03, atol=0.003
    )


def test_a_sharper_softmax_goes_to_the_peak():
    heatmap = torch.zeros(1, 1, 5, 5)
    heatmap[0, 0, 1, 4] = 1.0
    with torch.no_grad():
        flat = SpatialSoftmax(1, 5, 5, sharpness=1e-6, moments=False)(heatmap)
        sharp = SpatialSoftmax(1, 5, 5, sharpness=50.0, moments=False)(heatmap)
    torch.testing.assert_close(flat, torch.zeros(1, 1, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(sharp, torch.tensor([[[1.0, -0.5]]]), atol=1e-5, rtol=0)


def test_space_to_depth_holds_what_pixel_unshuffle_holds():
    frames = torch.randint(0, 256, (2, 8, 12, 3), dtype=torch.uint8)
    cells = space_to_depth(frames, 4)
    reference = F.pixel_unshuffle(frames.permute(0, 3, 1, 2), 4)  # channel, then row and column in the cell
    ours = cells.unflatten(-1, (4, 4, 3)).permute(0, 5, 3, 4, 1, 2).flatten(1, 3)
    assert torch.equal(ours, reference)


def test_heatmaps_start_with_the_contrast_of_the_picture():
    """He et al. 2015: a ReLU network keeps the variance of its input, whatever its depth."""
    frames = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8)
    contrast = []
    for channels in ([32] * 2, [32] * 6):
        torch.manual_seed(0)
        encoder = make_encoder("keypoint", (64, 64), 8, channels=channels)
        maps = []
        encoder.heatmaps.register_forward_hook(lambda *call, maps=maps: maps.append(call[2]))
        with torch.no_grad():
            encoder(frames)
        contrast.append(maps[0].flatten(2).std(-1).mean().item())
    assert contrast[0] > 0.05
    assert contrast[1] > contrast[0] / 4  # a gain of 1 / sqrt(3) a layer would leave a ninth


def test_keypoints_follow_what_moves():
    """One filter that answers to white: its keypoint is the white square's place, wherever that is."""
    encoder = make_encoder("keypoint", (64, 64), 4, channels=(1,), first_kernel=1, keypoints=1, sharpness=30.0)
    with torch.no_grad():
        encoder.convolutions[0].weight.fill_(1.0)
        encoder.convolutions[0].bias.zero_()
        encoder.heatmaps.weight.fill_(1.0)
        for row, column in [(4, 40), (32, 20)]:
            frame = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
            frame[0, row : row + 8, column : column + 8] = 255
            x, y, *_ = encoder.keypoints(frame)[0, 0].tolist()
            centre = [(place / 4 + 0.5) / 7.5 - 1 for place in (column, row)]  # of the two cells a side it covers
            assert [x, y] == pytest.approx(centre, abs=0.01)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stem": "stride"},
        {"residual_blocks": 1},
        {"hidden": 0},
        {"moments": False, "sharpness": 1.0},
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
        ({"stem": "conv"}, "stem must be 'unshuffle' or 'stride', got 'conv'"),
        ({"stem": "stride", "downsample": 6}, "downsample is 6, a stem of strides takes a power of two"),
        ({"first_kernel": 2}, "first_kernel must be odd, got 2"),
        ({"keypoints": 0}, "keypoint encoder: keypoints must be at least 1, got 0"),
        ({"channels": []}, "keypoint encoder: channels must be at least 1, got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            make_encoder("keypoint", (24, 24), 6, **options)


def test_a_change_counts_as_much_at_the_border_of_the_image_as_in_its_middle() -> None:
    """All keypoints moved to (0.7, 0.7), what they differ by then, as told by the head, against the same at (0, 0)."""
    generator = torch.Generator().manual_seed(0)
    lying = 0.2 * torch.randn(64, 32, 5, generator=generator)
    change = 0.03 * torch.randn(64, 32, 5, generator=generator)

    def told(encoder: KeypointEncoder, place: float) -> float:
        keypoints = lying.clone()
        keypoints[..., :2] += place
        return (
            (encoder.head((keypoints + change).flatten(1)) - encoder.head(keypoints.flatten(1)))
            .norm(dim=1)
            .mean()
            .item()
        )

    relative, absolute = KeypointEncoder((64, 64), 32, relative=True), KeypointEncoder((64, 64), 32)
    assert told(relative, 0.7) == pytest.approx(told(relative, 0.0), rel=1e-3)
    assert told(absolute, 0.7) < 0.5 * told(absolute, 0.0)
