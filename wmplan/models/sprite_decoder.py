"""Pictures of latents from learned sprites: what moves in a scene is a few things that keep their looks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wmplan.errors import UserError
from wmplan.models.registry import require_positive

FARTHEST = 1.1
"""Largest distance of a sprite's middle from the picture's, on either axis, where 1 is half a picture's side."""


class SpriteDecoder(nn.Module):
    """Lays small learned images over a learned background, each moved, turned and stretched as the latent says.

    The images are sampled by spatial transformers (Jaderberg et al. 2015) and laid over one another by their opacity,
    as in layered generative models of images. A pose is a smooth function of a latent and a picture of a pose is
    not, so that edges and angles are right after a few thousand steps, where convolutions draw a blurred disc.

    Args:
        latent_dim: L.
        image_size: (height, width) of the pictures.
        sprites: images that are laid over the background.
        size: pixels a side of each.
        width: of the MLP from latents to poses.
        extent: half a sprite's side at first, where 1 is half a picture's shorter side.
    """

    def __init__(
        self,
        latent_dim: int,
        image_size: tuple[int, int],
        *,
        sprites: int = 6,
        size: int = 32,
        width: int = 256,
        extent: float = 0.5,
    ) -> None:
        super().__init__()
        require_positive("decoder", sprites=sprites, size=size, width=width)
        if not 0 < extent < math.inf:
            raise UserError(f"decoder: extent must be finite and above 0, got {extent}")
        self.poses = nn.Sequential(
            *(nn.Linear(latent_dim, width), nn.SiLU()),
            *(nn.Linear(width, width), nn.SiLU()),
            *(nn.Linear(width, width), nn.SiLU()),
            nn.Linear(width, 6 * sprites),
        )
        side = torch.linspace(-1, 1, size)
        disc = -6.0 * (side[:, None] ** 2 + side**2)
        self.opacity = nn.Parameter(disc + 0.3 * torch.randn(sprites, 1, size, size))  # of logits
        self.colour = nn.Parameter(0.4 + 0.1 * torch.rand(sprites, 3, size, size))
        self.background = nn.Parameter(torch.full((3, *image_size), 0.5))
        self.log_extent = nn.Parameter(torch.full((sprites, 1), extent).log())

    @torch.no_grad()
    def start_from(self, frames: Tensor) -> None:
        """Take the mean of uint8 frames (N, H, W, 3) as the background, before training: sprites then find what moves.

        Over a background that is yet to be learned they would first be used up for that.
        """
        self.background.copy_(frames.float().mean(0).permute(2, 0, 1) / 255)

    def forward(self, latents: Tensor) -> Tensor:
        """Latents (N, L) to pictures (N, H, W, 3), from 0 to 1.

        In training mode they are not clamped to that range: the gradient of a saturated pixel would be lost.
        """
        layers = self.layers(latents)  # (N, sprites, 4, H, W)
        pictures: Tensor = self.background  # (3, H, W)
        for layer in layers.unbind(1):
            opacity, colour = layer[:, :1], layer[:, 1:]
            pictures = pictures + opacity * (colour - pictures)
        pictures = pictures.permute(0, 2, 3, 1)
        return pictures if self.training else pictures.clamp(0.0, 1.0)

    def layers(self, latents: Tensor) -> Tensor:
        """The sprites where latents (N, L) put them: opacity and colours, (N, sprites, 4, H, W)."""
        count, sprites = len(latents), len(self.opacity)
        height, width = self.background.shape[1:]
        looks = torch.cat([self.opacity.sigmoid(), self.colour], 1)  # (sprites, 4, size, size)
        looks = looks.expand(count, *looks.shape).flatten(0, 1)
        places = F.affine_grid(self.inverse_poses(latents).flatten(0, 1), [len(looks), 4, height, width], False)
        return F.grid_sample(looks, places, align_corners=False).unflatten(0, (count, sprites))

    def inverse_poses(self, latents: Tensor) -> Tensor:
        """Maps from places in the picture to places in each sprite, for latents (N, L): (N, sprites, 2, 3)."""
        position, direction, stretch = self.poses(latents).unflatten(-1, (-1, 3, 2)).unbind(-2)  # (N, sprites, 2) each
        cos, sin = F.normalize(direction, dim=-1, eps=1e-3).unbind(-1)
        turn_back = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], -2)
        shrink = (-self.log_extent - 0.5 * stretch.tanh()).exp()
        height, width = self.background.shape[1:]
        sides = latents.new_tensor([width, height]) / min(width, height)  # or else a turn would bend a sprite
        inverse = shrink[..., None] * turn_back * sides  # (N, sprites, 2, 2)
        middle = FARTHEST * position.tanh()[..., None]  # a sprite that left the picture would get no gradient
        return torch.cat([inverse, -inverse @ middle], -1)
