"""What every predictor here is: the next latent from a window of latents and actions, and its rollout."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Predictor(nn.Module, ABC):
    """Predicts the next latent. Action t stands beside frame t and leads to frame t + 1.

    Attributes:
        history: h, frames in a window.
        takes_any_context: whether rollout() takes fewer than h latents too; else frames before the first are made up.
    """

    history: int
    takes_any_context = False

    @abstractmethod
    def step(self, latents: Sequence[Tensor], actions: Sequence[Tensor]) -> Tensor:
        """The next latent, of shape (B, S, L).

        Args:
            latents: the h frames of the window, oldest first, of shape (B, S, L) each, or (B, 1, L) where the S
                candidates share them.
            actions: the h normalised actions beside them, of shape (B, S, A) or (B, 1, A) each.
        """

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """The next latents (N, L) of windows of latents (N, h, L) and normalised actions (N, h, A)."""
        return self.step(latents.unsqueeze(1).unbind(2), actions.unsqueeze(1).unbind(2)).squeeze(1)

    def rollout(self, context: Tensor, past_actions: Tensor, actions: Tensor, last_only: bool = False) -> Tensor:
        """Predictions fed back as latents, step by step.

        Args:
            context: the last h latents, of shape (B, h, L).
            past_actions: the normalised actions between them, of shape (B, h - 1, A).
            actions: normalised candidates, of shape (B, S, H, A).
            last_only: give the latent after the last step alone.

        Returns:
            Predicted latents, of shape (B, S, H, L), or (B, S, 1, L).
        """
        latents = list(context.unsqueeze(1).unbind(2))  # h of (B, 1, L): the candidates share them
        window = list(past_actions.unsqueeze(1).unbind(2))  # h - 1 of (B, 1, A)
        for action in actions.unbind(2):  # (B, S, A)
            window.append(action)
            latents.append(self.step(latents[-self.history :], window[-self.history :]))
        return latents[-1].unsqueeze(2) if last_only else torch.stack(latents[self.history :], 2)
