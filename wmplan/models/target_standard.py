"""Tokens without what is common to all clips: less a mean a place, over a deviation a channel."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

AVERAGED = 100
"""Batches that the running figures are a mean of, at most; before there are as many, all of them."""
LEAST_VARIANCE = 1e-6


class TargetStandard(nn.Module):
    """Tokens less the mean of their place over the data, over the deviation of their channel.

    Most of a token of a network that has not learned yet is the same in every clip. Predicting that is easy and teaches
    nothing, and layer normalisation keeps it. What is left here is what differs between clips: features that stop
    telling them apart make the error no smaller, since the scale goes with them (the centring of DINO, Caron et al.
    2021; the normalised targets of data2vec, Baevski et al. 2022; batch normalisation in BYOL, Grill et al. 2020, and
    in the projector of LeJEPA, Balestriero & LeCun 2025).

    In training a batch is standardised by its own figures, as batch normalisation does, else by the running ones.

    Args:
        tokens: places of a whole clip.
        width: channels.

    Attributes:
        mean: of each place and channel, of shape (tokens, width).
        variance: of each channel about it, of shape (width,).
        batches: that each place was measured on, of shape (tokens,).
        batch_mean: the mean over the rows (N, ...) of a batch where several processes have parts of it; None where the
            rows are all.
    """

    mean: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.batch_mean: Callable[[Tensor], Tensor] | None = None
        self.register_buffer("mean", torch.zeros(tokens, width))
        self.register_buffer("variance", torch.ones(width))
        self.register_buffer("batches", torch.zeros(tokens))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (N, K, width) of the first K places, standardised: by their own batch in training, which is noted."""
        count = tokens.shape[1]
        mean, variance = self.mean[:count], self.variance
        if self.training:
            if self.batch_mean is None:
                mean = tokens.mean(0)
                variance = (tokens - mean).square().mean((0, 1))
            else:
                mean = self.batch_mean(tokens)
                variance = self.batch_mean((tokens - mean).square().mean(1))
            self.note(mean.detach(), variance.detach())
        return (tokens - mean) / variance.clamp_min(LEAST_VARIANCE).sqrt()

    @torch.no_grad()
    def note(self, mean: Tensor, variance: Tensor) -> None:
        """Take the figures of a batch into the running ones."""
        count = len(mean)
        self.batches[:count] += 1
        rate = 1 / self.batches[:count, None].clamp(max=AVERAGED)  # (K, 1)
        self.mean[:count] += rate * (mean - self.mean[:count])
        self.variance += (1 / self.batches.max().clamp(max=AVERAGED)) * (variance - self.variance)
