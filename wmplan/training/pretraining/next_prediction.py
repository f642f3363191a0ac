"""The objective `next`: the colours of each tubelet of a clip from all before it, and how wrong that may be."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wmplan.models.video_jepa import VideoJEPA
from wmplan.training.precision import bfloat16_products
from wmplan.training.ranks import WHOLE, Share
from wmplan.training.stage import Batch

EXPECTATION_SHARE = 0.02
"""Of the likelihood of the errors in the loss, which is about a hundred times their mean square."""


class NextPrediction(nn.Module):
    """A causal model in training. The targets are fixed, so that no feature can collapse.

    The prediction learns from the squared error alone: under the likelihood what is hard to predict, the moving
    objects, would count least (Seitzer et al. 2022, "On the pitfalls of heteroscedastic uncertainty estimation").

    Args:
        model: what is trained.
        bfloat16: multiply in bfloat16; the losses stay in float32.
        share: of each batch that this process has.
    """

    def __init__(self, model: VideoJEPA, *, bfloat16: bool = False, share: Share = WHOLE) -> None:
        super().__init__()
        self.model, self.multiply_bfloat16, self.share = model, bfloat16, share

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Mean squared error of the next tubelets, and how badly it was expected.

        Args:
            batch: `pixels`, clips, uint8 (N, T, H, W, 3).
        """
        clips = batch["pixels"].to(self.model.encoder.embed.weight.device)
        with bfloat16_products(self.multiply_bfloat16, clips.device):
            errors = self.model.next_errors(clips)
        prediction = self.share.weight * errors.found.mean()
        expectation = self.share.weight * errors._replace(found=errors.found.detach()).log_loss.mean()
        figures = {"prediction": prediction.item(), "expectation": expectation.item()}
        return prediction + EXPECTATION_SHARE * expectation, figures

    def update_target(self, momentum: float) -> None:
        """There is no moving average."""
