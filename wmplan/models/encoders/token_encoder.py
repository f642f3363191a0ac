"""A vision transformer as an encoder of frames: its tokens, or their means, through a linear map to a flat latent."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from wmplan.errors import UserError
from wmplan.models.encoders.token_vit import TokenViT
from wmplan.registry import register_encoder


@register_encoder("token_vit")
class TokenEncoder(nn.Module):
    """The transformer that `wmplan pretrain` trains: uint8 frames (N, H, W, 3) to latents (N, D).

    Args:
        image_size: (height, width) of the frames.
        latent_dim: D.
        patch: pixels a side of a token.
        tubelet: frames of a token, through which a single frame stands still.
        width, depth, heads: of the transformer.
        pool: what the linear map to the latent sees: all tokens, the means of a grid of parts, or the mean of all.
        grid: parts a side.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        latent_dim: int,
        *,
        patch: int = 8,
        tubelet: int = 1,
        width: int = 192,
        depth: int = 4,
        heads: int = 3,
        pool: Literal["tokens", "grid", "mean"] = "tokens",
        grid: int = 4,
    ) -> None:
        super().__init__()
        self.vit = TokenViT(image_size, tubelet, patch=patch, tubelet=tubelet, width=width, depth=depth, heads=heads)
        _, rows, columns = self.vit.grid
        self.parts = {"tokens": (rows, columns), "grid": (grid, grid), "mean": (1, 1)}[pool]
        if not (1 <= self.parts[0] <= rows and 1 <= self.parts[1] <= columns):
            raise UserError(f"grid must be from 1 to {min(rows, columns)} with {rows} x {columns} tokens, got {grid}")
        self.head = nn.Linear(width * self.parts[0] * self.parts[1], latent_dim)

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 frames (N, H, W, 3) to latents (N, D)."""
        out: Tensor = self.head(self.features(frames))
        return out

    def features(self, frames: Tensor) -> Tensor:
        """What the linear map sees, (N, width x parts)."""
        _, rows, columns = self.vit.grid
        tokens = self.vit(frames.unsqueeze(1)).unflatten(1, (rows, columns)).movedim(-1, 1)  # (N, width, rows, columns)
        if self.parts != (rows, columns):
            tokens = nn.functional.adaptive_avg_pool2d(tokens, self.parts)
        return tokens.flatten(2).transpose(1, 2).flatten(1)

    @torch.no_grad()
    def set_head(self, features: Tensor) -> None:
        """Make the linear map that onto the principal components of features (N, width x parts).

        Raises:
            UserError: where there are not as many components as numbers in the latent.
        """
        latent_dim = self.head.out_features
        if latent_dim > min(len(features) - 1, features.shape[1]):
            most = min(len(features) - 1, features.shape[1])
            raise UserError(
                f"latent_dim must be at most {most}, what {len(features)} frames tell apart, got {latent_dim}"
            )
        mean = features.mean(0)
        components = torch.linalg.svd(features - mean, full_matrices=False).Vh[:latent_dim]
        signs = components.gather(1, components.abs().argmax(1, keepdim=True)).sign()  # or else they were arbitrary
        self.head.weight.copy_(components * signs)
        self.head.bias.copy_(-(self.head.weight @ mean))
