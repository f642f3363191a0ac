"""A small CNN whose only way out is where things are: spatial softmax keypoints."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wmplan.errors import UserError
from wmplan.models.encoders.pixels import require_divisible, scale, space_to_depth
from wmplan.models.registry import require_positive
from wmplan.registry import register_encoder


class SpatialSoftmax(nn.Module):
    """Moments of the image coordinates under the softmax of each heatmap (after Finn et al. 2016, Deep Spatial
    Autoencoders, who take the means only).

    The coordinates run from -1 to 1 over the centres of the outermost cells. The mean says where a thing is, the
    second moments how large it is and which way it lies: an orientation that several means would have to tell
    together. The heatmaps go in as they are: standardised ones turn into peaks before they have found what turns.

    Args:
        sharpness: factor of each heatmap at the start of training (inverse temperature); it is learned. At 1 the
            softmax starts flat, all means in the middle, and takes long to unfold.
        moments: give the second central moments as well as the means.
    """

    grid: Tensor
    SECOND = 20.0  # brings a block's second moments, some 0.02 to 0.1, to the size of its means

    def __init__(
        self, keypoints: int, height: int, width: int, *, sharpness: float = 5.0, moments: bool = True
    ) -> None:
        super().__init__()
        self.log_sharpness = nn.Parameter(torch.full((keypoints, 1), math.log(sharpness)))
        y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        columns = [x, y, x * x, x * y, y * y] if moments else [x, y]
        self.register_buffer("grid", torch.stack(columns, -1).flatten(0, 1), persistent=False)  # (cells, 2 or 5)

    @property
    def features(self) -> int:
        """Numbers a keypoint gives: x, y and, if asked for, var x, cov xy, var y, each times SECOND."""
        return self.grid.shape[1]

    def forward(self, heatmaps: Tensor) -> Tensor:
        """Heatmaps (N, K, height, width) to (N, K, features), in the type of the weights whatever autocast says.

        A position read off 256 cells needs more than bfloat16's eight bits.
        """
        with torch.autocast(heatmaps.device.type, enabled=False):
            return self.expectations(heatmaps.to(self.grid.dtype))

    def expectations(self, heatmaps: Tensor) -> Tensor:
        """The same, in the type of the heatmaps."""
        weights = (heatmaps.flatten(2) * self.log_sharpness.exp()).softmax(-1)  # (N, K, cells)
        expected = weights @ self.grid  # (N, K, 2 or 5)
        if self.features == 2:
            return expected
        x, y = expected[..., 0], expected[..., 1]
        central = expected[..., 2:] - torch.stack([x * x, x * y, y * y], -1)
        return torch.cat([expected[..., :2], self.SECOND * central], -1)


class Residual(nn.Module):
    """Two 3 x 3 convolutions around which the input is carried (He et al. 2016, without norms)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(F.relu(x))))


class RelativeHead(nn.Module):
    """Keypoints to a latent: where they are, linearly, and how they lie to each other, by a two-layer MLP.

    The MLP's hidden layer is normalised: without it, what turns is learned late or never. Of absolute
    keypoints the norm would mostly be their distance from the middle of the image, and dividing by it makes a turn
    count five times less in a corner than in the middle. So it gets them relative to their mean.
    """

    def __init__(self, keypoints: int, features: int, hidden: int, latent_dim: int) -> None:
        super().__init__()
        self.features = features
        inputs = keypoints * features
        self.place = nn.Linear(inputs, latent_dim)
        self.shape = nn.Sequential(
            nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, latent_dim)
        )

    def forward(self, keypoints: Tensor) -> Tensor:
        """Keypoints (N, K * features) to latents (N, D)."""
        apart = keypoints.unflatten(-1, (-1, self.features))  # (N, K, features)
        places = apart[..., :2]
        relative = torch.cat([places - places.mean(-2, keepdim=True), apart[..., 2:]], -1)
        return self.place(keypoints) + self.shape(relative.flatten(-2))


@register_encoder("keypoint")
class KeypointEncoder(nn.Module):
    """Pixels -> cells -> convolutions -> keypoints -> a two-layer MLP -> latent.

    Args:
        image_size: (height, width) of the frames.
        latent_dim: D.
        channels: of the 3 x 3 convolutions, all at the resolution of the cells.
        residual_blocks: blocks of two convolutions after them.
        keypoints: heatmaps.
        hidden: width of the MLP; 0 for one linear layer.
        downsample: pixels a side of a cell.
        stem: "unshuffle" makes each cell's pixels its channels, which costs nothing; "stride" comes to the same
            resolution by convolutions of stride 2, which see across cells early and are slower.
        first_kernel: cells a side that the first convolution sees; 1 makes the encoder 1.4 times as fast as 3.
        relative: give the MLP keypoints relative to their mean; see RelativeHead.
        sharpness, moments: see SpatialSoftmax.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        latent_dim: int,
        *,
        channels: Sequence[int] = (32, 32, 32),
        residual_blocks: int = 0,
        keypoints: int = 32,
        hidden: int = 256,
        downsample: int = 4,
        stem: str = "unshuffle",
        first_kernel: int = 3,
        relative: bool = False,
        sharpness: float = 5.0,
        moments: bool = True,
    ) -> None:
        super().__init__()
        require_positive("keypoint encoder", latent_dim=latent_dim, keypoints=keypoints, channels=len(channels))
        require_divisible(image_size, downsample, "downsample")
        if first_kernel % 2 == 0:
            raise UserError(f"first_kernel must be odd, got {first_kernel}")
        self.cell = downsample if stem == "unshuffle" else 1
        layers: list[nn.Module] = []
        width = 3 * self.cell**2
        if stem == "stride":
            if downsample & (downsample - 1):
                raise UserError(f"downsample is {downsample}, a stem of strides takes a power of two")
            for _ in range(int(math.log2(downsample))):
                layers += [nn.Conv2d(width, channels[0], 4, stride=2, padding=1), nn.ReLU()]
                width = channels[0]
        elif stem != "unshuffle":
            raise UserError(f"stem must be 'unshuffle' or 'stride', got {stem!r}")
        for i, out in enumerate(channels):
            kernel = first_kernel if i == 0 else 3
            layers += [nn.Conv2d(width, out, kernel, padding=kernel // 2), nn.ReLU()]
            width = out
        layers += [Residual(width) for _ in range(residual_blocks)]
        self.convolutions = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.heatmaps = nn.Conv2d(width, keypoints, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # PyTorch's own halves the signal a layer: heatmaps would start flat
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        rows, columns = image_size[0] // downsample, image_size[1] // downsample
        self.softmax = SpatialSoftmax(keypoints, rows, columns, sharpness=sharpness, moments=moments)
        inputs = keypoints * self.softmax.features
        self.head: nn.Module = nn.Linear(inputs, latent_dim)
        if hidden and relative:
            self.head = RelativeHead(keypoints, self.softmax.features, hidden, latent_dim)
        elif hidden:
            norm = nn.LayerNorm(hidden)
            self.head = nn.Sequential(nn.Linear(inputs, hidden), norm, nn.GELU(), nn.Linear(hidden, latent_dim))

    def grow(self, blocks: int) -> None:
        """Add residual blocks, which give nothing until they are trained: the latents stay."""
        for _ in range(blocks):
            block = Residual(self.heatmaps.in_channels)
            for layer in (block.first, block.second):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
            nn.init.zeros_(block.second.weight)
            self.convolutions.append(block.to(memory_format=torch.channels_last))  # type: ignore[call-overload]

    def keypoints(self, frames: Tensor) -> Tensor:
        """uint8 frames (N, H, W, 3) to keypoints (N, K, features)."""
        cells = space_to_depth(frames, self.cell) if self.cell > 1 else frames
        pixels = scale(cells, self.heatmaps.weight.dtype).permute(0, 3, 1, 2)  # (N, C, rows, columns), channels last
        return self.softmax(self.heatmaps(self.convolutions(pixels)))

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 frames (N, H, W, 3) to latents (N, D)."""
        return self.head(self.keypoints(frames).flatten(1))
