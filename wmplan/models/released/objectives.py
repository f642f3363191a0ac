"""The planning costs of the released models, as their reference implementations compute them.

Each is a callable (predicted (B, S, H, *latent), goal (B, *latent), actions (B, S, H, A)) -> costs (B, S).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor


class Objective(Protocol):
    """From predicted latents, goal and candidates to costs; `last_only` where only the last prediction is read."""

    @property
    def last_only(self) -> bool: ...

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class SummedSquaredError:
    """LeWM: the squared distance between the final and the goal embedding, summed over channels, not averaged."""

    last_only = True

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor | None = None) -> Tensor:
        return (predicted[:, :, -1] - goal.unsqueeze(1)).square().flatten(2).sum(2)


@dataclass(frozen=True)
class PatchAndProprio:
    """DINO-WM and JEPA-WM: mean squared error of patch features plus alpha times that of the embedded robot state.

    Latents are (patches, channels), the first `visual_dim` channels visual and the rest the embedding in every patch.
    A goal that is no more than an image has unknown (NaN) embeddings: then the visual part alone counts.

    Attributes:
        visual_dim: channels of a patch's visual feature.
        alpha: weight of the proprioceptive part.
        proprio_patches: "first" scores patch 0's embedding (DINO-WM), "all" every patch's (JEPA-WM).
        frames: "last", or "all": weights proportional to base ** i over the frames, and the mean over frames of
            weight times error. The reference counts the context among these frames: put it before the predictions to
            get its number; that changes all candidates' costs by the same factor and summand.
        base: of the weights.
    """

    visual_dim: int
    alpha: float = 1.0
    proprio_patches: Literal["first", "all"] = "first"
    frames: Literal["last", "all"] = "last"
    base: float = 2.0

    @property
    def last_only(self) -> bool:
        """Whether only the last predicted latent is read."""
        return self.frames == "last"

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor | None = None) -> Tensor:
        if self.frames == "last":
            predicted = predicted[:, :, -1:]
        goal = goal[:, None, None]  # (B, 1, 1, P, C)
        visual = slice(0, self.visual_dim)
        cost = (predicted[..., visual] - goal[..., visual]).square().mean((-1, -2))  # (B, S, frames)
        if self.alpha and predicted.shape[-1] > self.visual_dim:
            patches = slice(0, 1) if self.proprio_patches == "first" else slice(None)
            wanted = goal[..., patches, self.visual_dim :]
            error = (predicted[..., patches, self.visual_dim :] - wanted).square().mean((-1, -2))
            unknown = wanted.isnan().flatten(3).any(3)  # (B, 1, 1)
            cost = cost + self.alpha * torch.where(unknown, torch.zeros_like(error), error)
        weights = self.base ** torch.arange(cost.shape[2], device=cost.device, dtype=cost.dtype)
        return (cost * weights / weights.sum()).mean(2)


@dataclass(frozen=True)
class TokenMeanAbsoluteError:
    """V-JEPA 2-AC: mean absolute difference over all tokens and channels of the final frame.

    Attributes:
        token_numbers: entries of the flat latent that are tokens; the pose behind them does not count.
    """

    token_numbers: int
    last_only = True

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor | None = None) -> Tensor:
        tokens = slice(0, self.token_numbers)
        return (predicted[:, :, -1, tokens] - goal[:, None, tokens]).abs().mean(2)
