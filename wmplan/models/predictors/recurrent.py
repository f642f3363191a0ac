"""A predictor with a memory: what was seen and done long ago still counts, also of what is out of sight now."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wmplan.models.known_contexts import KnownContexts, weights_of
from wmplan.models.linear import Linear
from wmplan.models.predictors.base import Predictor
from wmplan.models.predictors.mlp import ResidualPerceptron
from wmplan.models.registry import require_positive
from wmplan.registry import register_predictor

KEEPS = 2.0
"""Bias of the gate that keeps the memory: an untrained network forgets over ten steps or so, not at once (Jozefowicz,
Zaremba & Sutskever 2015)."""


class MemoryCell(nn.Module):
    """A gated recurrent unit (Cho et al. 2014) whose arguments may lack candidates, which then share them."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.enter, self.keep = Linear(inputs, 3 * width), Linear(width, 3 * width)
        nn.init.constant_(self.keep.bias[width : 2 * width], KEEPS)

    def forward(self, seen: Tensor, memory: Tensor) -> Tensor:
        """The memory (B, S, width) after what is seen (B, S or 1, inputs), from one of shape (B, S or 1, width)."""
        reset, keep, new = self.enter(seen).chunk(3, -1)
        reset_before, keep_before, new_before = self.keep(memory).chunk(3, -1)
        kept = torch.sigmoid(keep + keep_before)
        candidate = torch.tanh(new + torch.sigmoid(reset + reset_before) * new_before)
        return torch.lerp(candidate, memory, kept)


@register_predictor("recurrent")
class RecurrentPredictor(Predictor):
    """The next latent is the newest one plus what the memory of all before it, and of the actions, says.

    A context of any length up to the history is read frame by frame into a memory of fixed size, from which a rollout
    goes on. The memory of a context that was read before is kept, so that planning reads a frame once: not at each
    iteration of a search, nor again when the next frame has come. Where a context has grown to the whole history its
    oldest frame is dropped and the rest is read anew, so that what is predicted depends on the context alone. Nothing
    is kept in training.

    Args:
        latent_dim: L.
        action_dim: A.
        history: h, frames that are remembered at most: 16 to 32 where something has to be remembered.
        action_block: of no concern here: a block goes in whole.
        width: numbers in the memory, and of the hidden layers.
        depth: residual layers that read it.
    """

    takes_any_context = True

    def __init__(
        self,
        latent_dim: int,
        action_dim: int,
        history: int,
        action_block: int = 1,
        *,
        width: int = 256,
        depth: int = 2,
    ) -> None:
        super().__init__()
        require_positive("recurrent predictor", width=width, depth=depth)
        self.history, self.width = history, width
        self.latent_in = Linear(latent_dim, width)
        self.action_in = Linear(action_dim, width, bias=False)
        self.cell = MemoryCell(width, width)
        self.blocks = nn.Sequential(*(ResidualPerceptron(width) for _ in range(depth)))
        self.norm, self.out = nn.LayerNorm(width), Linear(width, latent_dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.known = KnownContexts()

    def step(self, latents: Sequence[Tensor], actions: Sequence[Tensor]) -> Tensor:
        memory = latents[0].new_zeros(len(latents[0]), 1, self.width)
        for latent, action in zip(latents, actions, strict=True):
            memory = self.moved(memory, latent, action)
        return self.read(memory, latents[-1])

    def rollout(self, context: Tensor, past_actions: Tensor, actions: Tensor, last_only: bool = False) -> Tensor:
        """As Predictor.rollout(), from a context (B, T, L) of any length and T - 1 actions."""
        memory, latent = self.remember(context[:, :-1], past_actions), context[:, -1:]
        predicted = []
        for action in actions.unbind(2):  # (B, S, A)
            memory = self.moved(memory, latent, action)
            latent = self.read(memory, latent)
            predicted.append(latent)
        return latent.unsqueeze(2) if last_only else torch.stack(predicted, 2)

    def moved(self, memory: Tensor, latent: Tensor, action: Tensor) -> Tensor:
        """The memory after a frame's latent and the action that followed, (B, S or 1, ...) each."""
        moved: Tensor = self.cell(F.silu(self.latent_in(latent) + self.action_in(action)), memory)
        return moved

    def read(self, memory: Tensor, latent: Tensor) -> Tensor:
        """The next latent (B, S, L) from the memory and the newest latent."""
        return latent + self.out(self.norm(self.blocks(memory)))  # type: ignore[no-any-return]

    def remember(self, latents: Tensor, actions: Tensor) -> Tensor:
        """The memory (B, 1, width) of latents (B, k, L) and the actions (B, k, A) beside them; k may be 0."""
        weights = weights_of(self)
        weights = weights and (*weights, (0, int(self.out.rounds)))
        before = None if weights is None else self.known.longest(latents, actions, weights)
        read, memory = 0, latents.new_zeros(len(latents), 1, self.width)
        if before is not None:
            read, memory = before.latents.shape[1], before.made
        for step in range(read, latents.shape[1]):
            memory = self.moved(memory, latents[:, step : step + 1], actions[:, step : step + 1])
        if weights is not None and latents.shape[1]:
            self.known.keep(latents, actions, memory, weights, before)
        return memory
