"""The residual CNN of IMPALA."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wmplan.models.encoders.keypoint import Residual
from wmplan.models.encoders.pixels import scale
from wmplan.models.registry import require_positive
from wmplan.registry import register_encoder


@register_encoder("impala")
class ImpalaEncoder(nn.Module):
    """Espeholt et al. 2018, figure 3 (right), without the LSTM.

    Args:
        image_size: (height, width) of the frames.
        latent_dim: D.
        channels: of the stages; each halves the resolution and has two residual blocks.
        hidden: width of the MLP at the end.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        latent_dim: int,
        *,
        channels: Sequence[int] = (16, 32, 32),
        hidden: int = 256,
    ) -> None:
        super().__init__()
        require_positive("impala encoder", latent_dim=latent_dim, hidden=hidden, channels=len(channels))
        layers: list[nn.Module] = []
        width, (rows, columns) = 3, image_size
        for out in channels:
            layers += [nn.Conv2d(width, out, 3, padding=1), nn.MaxPool2d(3, stride=2, padding=1)]
            layers += [Residual(out), Residual(out)]
            width, rows, columns = out, (rows + 1) // 2, (columns + 1) // 2
        layers.append(nn.ReLU())
        self.convolutions = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.head = nn.Sequential(
            nn.Linear(width * rows * columns, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, latent_dim)
        )

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 frames (N, H, W, 3) to latents (N, D)."""
        pixels = scale(frames, next(self.parameters()).dtype).permute(0, 3, 1, 2)  # (N, 3, H, W), channels last
        return self.head(self.convolutions(pixels).flatten(1))
