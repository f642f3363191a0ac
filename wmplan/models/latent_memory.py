"""What latents of hidden things would be: a memory between what is seen and the predictor that goes on from there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wmplan.models.known_contexts import KnownContexts
from wmplan.models.linear import Linear
from wmplan.models.predictors.mlp import ResidualPerceptron
from wmplan.models.predictors.recurrent import MemoryCell
from wmplan.models.registry import require_positive

SEEING = 4.0
"""An untrained memory believes what is seen, and what was predicted by exp(-4)."""


class PredictsNext(NamedTuple):
    """What predicts the next frame.

    Attributes:
        predict: the next latents (B, L) from the last ones (B, t, L), the actions between them (B, t - 1, A) and the
            next one (B, A).
        scale: standard deviations of its error, (L,).
        window: frames that it looks at.
    """

    predict: Callable[[Tensor, Tensor, Tensor], Tensor]
    scale: Tensor
    window: int


class Belief(NamedTuple):
    """What is believed after some frames of a context.

    Attributes:
        latents: of the newest frames, (B, t, L), t being as many as the predictor looks at, at most.
        memory: (B, 1, width).
    """

    latents: Tensor
    memory: Tensor


class LatentMemory(nn.Module):
    """Believes of each new frame what it shows, or what the model had predicted of it, number by number.

    The latent of a frame in which something stands before the scene is wrong in what is hidden, and only there. What
    was seen before and done since tells that part: the predictor's own prediction from the frame before, corrected in
    the same way. A gate for each number of the latent, and a correction, come from the two, how far they are apart, and
    a recurrent memory: a Kalman filter whose gain is learnt (after Revach et al. 2022, KalmanNet). The first frame of a
    context is believed as it is seen.

    Args:
        latent_dim: L.
        width: numbers in the memory, and of the hidden layers.
        depth: residual layers that read it.
    """

    def __init__(self, latent_dim: int, *, width: int = 256, depth: int = 1) -> None:
        super().__init__()
        require_positive("latent memory", width=width, depth=depth)
        self.width = width
        self.enter = Linear(3 * latent_dim, width)
        self.cell = MemoryCell(width, width)
        self.blocks = nn.Sequential(*(ResidualPerceptron(width) for _ in range(depth)))
        self.norm, self.leave = nn.LayerNorm(width), Linear(width, 2 * latent_dim)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)
        self.known = KnownContexts()

    def believed(self, seen: Tensor, predicted: Tensor, memory: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (B, L) of a frame and the memory after it, from what is seen and what was predicted, (B, L) each.

        Args:
            memory: (B, 1, width).
            scale: standard deviations of the prediction's error, (L,).
        """
        off = torch.asinh((seen - predicted) / scale)  # of hidden things a hundred of them are no more than ten
        entered = F.silu(self.enter(torch.cat([off, seen, predicted], -1)))[:, None]  # (B, 1, width)
        memory = self.cell(entered, memory)
        gate, change = self.leave(self.norm(self.blocks(memory + entered))).squeeze(1).chunk(2, -1)
        return torch.lerp(seen, predicted, torch.sigmoid(gate - SEEING)) + scale * change, memory

    def beliefs(
        self, seen: Tensor, actions: Tensor, model: PredictsNext, begin: Belief | None = None, read: int = 1
    ) -> list[Belief]:
        """What is believed after each frame of a context, oldest first.

        Args:
            seen: latents (B, T, L).
            actions: between them, (B, T - 1, A).
            model: what predicts.
            begin: what was believed after the first `read` frames, where that is known; else they are one.
        """
        found = [begin or Belief(seen[:, :1], seen.new_zeros(len(seen), 1, self.width))]
        for step in range(read, seen.shape[1]):
            latents, memory = found[-1]
            past = actions[:, step - latents.shape[1] : step - 1]
            predicted = model.predict(latents, past, actions[:, step - 1])
            latent, memory = self.believed(seen[:, step], predicted, memory, model.scale)
            found.append(Belief(torch.cat([latents, latent[:, None]], 1)[:, -model.window :], memory))
        return found

    def recall(self, seen: Tensor, actions: Tensor, model: PredictsNext, weights: tuple[Any, ...] | None) -> Tensor:
        """The last latents (B, t, L) of a context as they are believed; what was read before is not read again.

        Args:
            weights: what tells whether networks are the same as before; None keeps nothing.
        """
        before = None if weights is None else self.known.longest(seen, actions, weights)
        begin, read = (None, 1) if before is None else (before.made, before.latents.shape[1])
        belief = self.beliefs(seen, actions, model, begin, read)[-1]
        if weights is not None:
            self.known.keep(seen, actions, belief, weights, before)
        return belief.latents
