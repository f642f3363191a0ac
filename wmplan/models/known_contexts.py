"""What was made of contexts before, kept while they grow: planning reads each frame once."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

MOST = 64
"""Contexts that are kept: one for each robot that is planned for in turn, and for each phase of its model steps."""
MOST_ROBOTS = 64
"""Rows of a batch above which nothing is kept: such contexts are of data, and do not come again."""


class Known(NamedTuple):
    """A context that was read.

    Attributes:
        latents, actions: (B, k, L) and (B, j, A), its frames and actions.
        made: what was made of it.
        weights: what the network's weights were then.
    """

    latents: Tensor
    actions: Tensor
    made: Any
    weights: tuple[Any, ...]


class KnownContexts:
    """Contexts that were read, each at most once beside those that it grew to.

    Which they are is told by comparing numbers, so that what is found depends on the context and the weights alone.
    """

    def __init__(self) -> None:
        self.known: list[Known] = []

    def longest(self, latents: Tensor, actions: Tensor, weights: tuple[Any, ...]) -> Known | None:
        """The longest that the context of latents (B, T, L) and actions (B, j, A) begins with."""
        found = None
        for one in self.known:
            frames, steps = one.latents.shape[1], one.actions.shape[1]
            if found is not None and frames <= found.latents.shape[1]:
                continue
            same = one.weights == weights and one.latents.dtype == latents.dtype
            same = same and one.latents.device == latents.device and frames <= latents.shape[1]
            if same and torch.equal(one.latents, latents[:, :frames]) and torch.equal(one.actions, actions[:, :steps]):
                found = one
        return found

    def keep(
        self, latents: Tensor, actions: Tensor, made: Any, weights: tuple[Any, ...], before: Known | None = None
    ) -> None:
        """Remember what was made of a context, in place of the shorter one that it grew from."""
        if len(latents) > MOST_ROBOTS:
            return
        known = [one for one in self.known if one is not before and one.weights == weights]
        self.known = [*known[1 - MOST :], Known(latents.clone(), actions.clone(), made, weights)]


def weights_of(module: nn.Module) -> tuple[tuple[int, int], ...] | None:
    """What tells whether a network is still the same one; None where nothing is to be kept, as in training."""
    tensors = [*module.parameters(), *module.buffers()]
    if module.training or torch.is_grad_enabled() or any(one.is_inference() for one in tensors):
        return None
    return tuple((one.data_ptr(), one._version) for one in tensors)
