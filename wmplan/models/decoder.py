"""Pictures of latents, for people to look at: no part of planning, and no gradient of it reaches the encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wmplan.errors import UserError
from wmplan.models.encoders.pixels import require_divisible
from wmplan.models.registry import require_positive, with_defaults
from wmplan.models.sprite_decoder import SpriteDecoder
from wmplan.settings.build import convert_options
from wmplan.settings.suggest import did_you_mean


class Decoder(nn.Module):
    """A spatial broadcast decoder (Watters et al. 2019): the latent beside each place's coordinates.

    It works on cells of 4 x 4 pixels and lays each cell's pixels out at the end, which keeps it small and fast.

    Args:
        latent_dim: L.
        image_size: (height, width) of the pictures.
        width: channels.
        cell: pixels a side of a cell.
    """

    coordinates: Tensor

    def __init__(self, latent_dim: int, image_size: tuple[int, int], *, width: int = 96, cell: int = 4) -> None:
        super().__init__()
        require_positive("decoder", width=width)
        require_divisible(image_size, cell, "decoder: cell")
        rows, columns = image_size[0] // cell, image_size[1] // cell
        y, x = torch.meshgrid(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij")
        waves = [f(torch.pi * 2**k * c) for c in (x, y) for k in range(3) for f in (torch.sin, torch.cos)]
        self.register_buffer("coordinates", torch.stack([x, y, *waves], -1), persistent=False)  # (rows, columns, 14)
        self.place_in = nn.Linear(self.coordinates.shape[-1], width)
        self.latent_in = nn.Sequential(nn.Linear(latent_dim, width), nn.SiLU(), nn.Linear(width, width))
        self.mix = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.smooth = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, 3 * cell**2, 1)
        self.cell = cell

    def forward(self, latents: Tensor) -> Tensor:
        """Latents (N, L) to pictures (N, H, W, 3), from 0 to 1.

        In training mode they are not clamped to that range: the gradient of a saturated pixel would be lost, and with a
        sigmoid in its place small bright things on a dark ground are never found.
        """
        places = self.place_in(self.coordinates)  # (rows, columns, width)
        hidden = self.mix(places + self.latent_in(latents)[:, None, None])  # (N, rows, columns, width)
        hidden = F.silu(self.smooth(F.silu(hidden).permute(0, 3, 1, 2)))
        pictures = F.pixel_shuffle(0.5 + 0.25 * self.out(hidden), self.cell).permute(0, 2, 3, 1)  # (N, H, W, 3)
        return pictures if self.training else pictures.clamp(0.0, 1.0)


DECODERS: dict[str, type[Decoder] | type[SpriteDecoder]] = {"broadcast": Decoder, "sprites": SpriteDecoder}
"""By their kind, an option like the others; options without one, which older checkpoints have, are the first's."""


def make_decoder(latent_dim: int, image_size: tuple[int, int], options: Mapping[str, Any]) -> Decoder | SpriteDecoder:
    """The decoder of some options.

    Raises:
        UserError: if there is no such kind, it has no such option, or an option has a value of the wrong kind.
    """
    make, rest = _kind(options)
    return make(latent_dim, image_size, **convert_options(make, rest, "decoder_options"))


def decoder_with_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` with what the decoder's own defaults are where they say nothing; a checkpoint stores these."""
    make, rest = _kind(options)
    return {"kind": options.get("kind", "broadcast"), **with_defaults(make, rest)}


def _kind(options: Mapping[str, Any]) -> tuple[type[Decoder] | type[SpriteDecoder], dict[str, Any]]:
    """The decoder that is meant, and the options that it takes."""
    rest = dict(options)
    kind = rest.pop("kind", "broadcast")
    if not isinstance(kind, str) or kind not in DECODERS:
        raise UserError(f"decoder_options: there is no kind {kind!r}; {did_you_mean(str(kind), DECODERS)}")
    return DECODERS[kind], rest
