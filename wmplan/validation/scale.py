"""Latent differences in units of what usually changes in one model step, the same for any encoder."""

from __future__ import annotations

import torch
from torch import Tensor

from wmplan.validation.recordings import Recordings

FLOOR = 1e-3
"""Least unit of an entry, as a share of the mean over all."""


class LatentScale:
    """Whitens latent differences: by the model's own whitening, else each entry by its usual one-step change.

    Args:
        recordings: that the usual change is taken from.
    """

    def __init__(self, recordings: Recordings) -> None:
        model = recordings.model
        self.whitening = model.whitening if len(model.spec.latent_shape) == 1 else None
        self.unit: Tensor | None = None
        if self.whitening is None:
            changes = torch.cat([one.latents.diff(dim=0) for one in recordings.recordings]).flatten(1)
            unit = changes.square().mean(0).sqrt()  # (L,)
            self.unit = unit.clamp(min=max(FLOOR * float(unit.mean()), 1e-12))

    def __call__(self, difference: Tensor) -> Tensor:
        """Differences (N, *latent) in units of one step's change, (N, L)."""
        flat = difference.flatten(1)
        if self.whitening is not None:
            return flat @ self.whitening.T.to(flat)
        assert self.unit is not None
        return flat / self.unit.to(flat)

    def square(self, difference: Tensor) -> Tensor:
        """Mean over the latent's numbers of the squared difference, (N,); +inf where it is not finite."""
        found = self(difference).square().mean(1)
        return torch.where(torch.isfinite(found), found, torch.inf)


def projected(values: Tensor, most: int, seed: int = 0) -> Tensor:
    """Rows (N, L) in at most `most` numbers by a random projection, which nearly keeps distances (Johnson 1984)."""
    if values.shape[1] <= most:
        return values
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(values.shape[1], most, generator=generator) / most**0.5
    return values @ directions.to(values)
