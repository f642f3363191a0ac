"""Mean colours of patches, and a linear layer."""

import torch
from torch import nn
from torch.nn import functional as F

import wmplan


@wmplan.register_encoder("patch_means")
class PatchMeans(nn.Module):
    """Mean colours of patches, and a linear layer.

    Args:
        cells: patches a side.
    """

    def __init__(self, image_size: tuple[int, int], latent_dim: int, *, cells: int = 4) -> None:
        super().__init__()
        self.cells = cells
        self.out = nn.Linear(3 * cells * cells, latent_dim)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """uint8 frames (N, H, W, 3) to latents (N, D)."""
        colours = frames.permute(0, 3, 1, 2).float() / 255
        return self.out(F.adaptive_avg_pool2d(colours, self.cells).flatten(1))
