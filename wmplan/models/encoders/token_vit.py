"""A vision transformer over the patches of images, or over the tubelets of clips, of which some may be left out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wmplan.models.encoders.pixels import require_divisible, scale, space_to_depth
from wmplan.models.encoders.vit import Block
from wmplan.models.registry import require_positive
from wmplan.models.rope import Rotation, grid_positions

Grid = tuple[int, int, int]
LEAST_DEVIATION = 0.02
"""Of colours, white being 1 above black: a data set without any contrast is not blown up."""


class TokenViT(nn.Module):
    """uint8 clips to a token for every tubelet: a patch of the image over one frame or a few.

    Places are told twice: queries and keys turn with frame, row and column (V-JEPA 2), and a learned vector of the row
    and column is added, or else no mean of tokens would tell where anything is.

    Args:
        image_size: (height, width) of the frames.
        frames: of a clip; 1 for images.
        patch: pixels a side of a patch.
        tubelet: frames of a token.
        width, depth, heads: of the transformer.

    Attributes:
        grid: tokens along time, rows and columns.
        pixel_mean, pixel_std: of the colours that are taken to mean 0 and deviation 1, of shape (3,); see centre().

    Raises:
        UserError: where the sizes do not fit together.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        image_size: tuple[int, int],
        frames: int,
        *,
        patch: int = 8,
        tubelet: int = 1,
        width: int = 192,
        depth: int = 4,
        heads: int = 3,
    ) -> None:
        super().__init__()
        require_positive("vit", frames=frames, patch=patch, tubelet=tubelet, width=width, depth=depth, heads=heads)
        require_divisible(image_size, patch, "patch")
        self.patch, self.tubelet, self.width = patch, tubelet, width
        self.grid: Grid = (-(-frames // tubelet), image_size[0] // patch, image_size[1] // patch)
        self.register_buffer("pixel_mean", torch.zeros(3))
        self.register_buffer("pixel_std", torch.ones(3))
        self.embed = nn.Linear(3 * tubelet * patch**2, width)
        self.place = Places(self.grid, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head_dim = width // heads

    def forward(self, clips: Tensor, seen: Tensor | None = None) -> Tensor:
        """Tokens (N, K, width) of uint8 clips (N, T, H, W, 3).

        Args:
            seen: numbers (N, K) of the tokens that are looked at, in the flattened grid; all where left out. T may then
                be shorter than the clips that the encoder was made for.
        """
        tubelets = self.tubelets(clips)  # (N, tokens, pixels)
        index = torch.arange(tubelets.shape[1], device=clips.device) if seen is None else seen
        if seen is not None:
            tubelets = take(tubelets, seen)
        tokens = self.embed(self.colours(tubelets)) + self.place(index)
        rotation = self.place.rotation(index, self.head_dim)
        for block in self.blocks:
            tokens = block(tokens, rotation)
        out: Tensor = self.norm(tokens)
        return out

    def colours(self, tubelets: Tensor) -> Tensor:
        """Pixels of tubelets, uint8 (..., pixels), their colours taken to mean 0 and deviation 1."""
        colours = scale(tubelets, self.embed.weight.dtype).unflatten(-1, (-1, 3))
        return ((colours - self.pixel_mean) / self.pixel_std).flatten(-2)

    @torch.no_grad()
    def centre(self, frames: Tensor) -> None:
        """Take the colours of uint8 frames (..., 3) to mean 0 and deviation 1.

        Were they not, a plain background would be the larger part of every token, and, as all pixels of a patch pull
        in one direction, the part that an optimiser moves most (LeCun et al. 1998, Efficient BackProp, section 4.3).
        """
        colours = scale(frames, torch.float32).flatten(0, -2)
        self.pixel_mean.copy_(colours.mean(0))
        self.pixel_std.copy_(colours.std(0).clamp_min(LEAST_DEVIATION))

    def tubelets(self, clips: Tensor) -> Tensor:
        """The pixels of every token, uint8 (N, T/tubelet x rows x columns, 3 x tubelet x patch^2).

        Of a clip that does not fill its last tubelet the last frame stands still.
        """
        lacking = -clips.shape[1] % self.tubelet
        if lacking:
            clips = torch.cat([clips, clips[:, -1:].expand(-1, lacking, -1, -1, -1)], 1)
        cells = space_to_depth(clips.flatten(0, 1), self.patch)  # (N T, rows, columns, pixels)
        cells = cells.unflatten(0, (len(clips), -1, self.tubelet))  # (N, T', tubelet, rows, columns, pixels)
        return cells.permute(0, 1, 3, 4, 2, 5).flatten(4).flatten(1, 3)


class Places(nn.Module):
    """Where the tokens of a grid are: a learned vector of row and column, and the angles that attention turns by.

    Args:
        grid: tokens along time, rows and columns.
        width: of a token.
    """

    positions: Tensor

    def __init__(self, grid: Grid, width: int) -> None:
        super().__init__()
        time, rows, columns = grid
        self.register_buffer("positions", grid_positions(range(time), rows, columns), persistent=False)
        self.cells = rows * columns
        self.vectors = nn.Parameter(torch.empty(self.cells, width))
        nn.init.normal_(self.vectors, std=0.02)

    def forward(self, index: Tensor) -> Tensor:
        """The vectors (..., width) of tokens by their numbers (...)."""
        return self.vectors[index % self.cells]

    def rotation(self, index: Tensor, head_dim: int) -> Rotation:
        """The angles of tokens by their numbers (tokens,) or (N, tokens)."""
        return Rotation(self.positions[index], head_dim, released=False)


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """Rows (N, K, ...) of tokens (N, tokens, ...) by their numbers (N, K)."""
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
