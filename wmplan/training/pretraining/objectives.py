"""The objectives of pretraining: tokens that are hidden are predicted from those that are seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wmplan.models.encoders.token_vit import take
from wmplan.models.target_standard import LEAST_VARIANCE
from wmplan.models.video_jepa import VideoJEPA
from wmplan.training.losses import sigreg, update_average
from wmplan.training.precision import bfloat16_products
from wmplan.training.pretraining.masks import MaskConfig, draw_masks
from wmplan.training.ranks import WHOLE, Share
from wmplan.training.stage import Batch

Distance = Callable[[Tensor, Tensor], Tensor]
DISTANCES: dict[str, Distance] = {"ijepa": F.smooth_l1_loss, "vjepa": F.l1_loss, "lejepa": F.mse_loss}


class MaskedPrediction(nn.Module):
    """A model in training: what it predicts, how far off it is, and what keeps its features apart.

    Args:
        model: what is trained.
        objective: ijepa and vjepa compare with the normalised tokens of the model's moving average; lejepa with the
            projected tokens of the encoder itself, whose mean SIGReg makes Gaussian over the clips of a batch. Were it
            all tokens, their places alone could make them so.
        masks: each is drawn anew for every batch, and is a pass of the predictor.
        sigreg_share: of SIGReg in the loss. Beside a moving average it is of the encoder's mean features of whole
            clips, standardised over the batch: what keeps features from using few dimensions, as the variance and
            covariance terms do in C-JEPA (Mo & Tong 2024). Of masked clips they could differ by the masks alone.
        bfloat16: multiply in bfloat16; the losses stay in float32.
        share: of each batch that this process has.
    """

    def __init__(
        self,
        model: VideoJEPA,
        objective: str,
        masks: Sequence[MaskConfig],
        *,
        sigreg_share: float = 0.1,
        bfloat16: bool = False,
        share: Share = WHOLE,
    ) -> None:
        super().__init__()
        self.model, self.masks, self.distance = model, tuple(masks), DISTANCES[objective]
        self.sigreg_share, self.multiply_bfloat16, self.share = sigreg_share, bfloat16, share
        if model.standard is not None and not share.alone:
            model.standard.batch_mean = share.mean

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Mean prediction error over the masks, and SIGReg.

        Args:
            batch: `pixels`, clips, uint8 (N, T, H, W, 3).
            generator: draws the masks, and the directions of SIGReg.
        """
        model, share = self.model, self.share
        clips = batch["pixels"].to(model.encoder.embed.weight.device)
        whole = self.targets(clips) if any(one.future is None for one in self.masks) else None  # (N, tokens, D)
        errors, hidden_tokens = [], 0
        for config in self.masks:
            rows = len(clips) if share.alone else share.total
            masks = draw_masks(model.encoder.grid, rows, config, generator)
            seen, hidden = (share.own(part).to(clips.device) for part in masks)
            targets = self.targets(self.until(clips, hidden)) if config.future is not None else whole
            assert targets is not None
            with bfloat16_products(self.multiply_bfloat16, clips.device):
                predicted = model.predictor(model.encoder(clips, seen), seen, hidden).float()
            errors.append(self.distance(predicted, take(targets, hidden)))
            hidden_tokens += hidden.shape[1]
        prediction = share.weight * torch.stack(errors).mean()
        figures = {
            "prediction": prediction.item(),
            "hidden": round(hidden_tokens / (len(self.masks) * math.prod(model.encoder.grid)), 4),
        }
        if not self.sigreg_share:
            return prediction, figures
        if model.projection is not None:
            features = (self.targets(clips) if whole is None else whole).mean(1)
        else:
            with bfloat16_products(self.multiply_bfloat16, clips.device):
                features = standardised(model.encoder(clips).float().mean(1), share)
        gaussian = sigreg(features, generator, share=share)
        figures["sigreg"] = gaussian.item()
        return (1 - self.sigreg_share) * prediction + self.sigreg_share * gaussian, figures

    def targets(self, clips: Tensor) -> Tensor:
        """What predictions are compared with, float32 (N, tokens, D)."""
        with bfloat16_products(self.multiply_bfloat16, clips.device):
            return self.model.targets(clips)

    def until(self, clips: Tensor, hidden: Tensor) -> Tensor:
        """The clips up to their last hidden token: of what comes later, nothing is known when a model is surprised."""
        _, rows, columns = self.model.encoder.grid
        steps = int(hidden[0, -1]) // (rows * columns) + 1
        return clips[:, : steps * self.model.encoder.tubelet]

    def update_target(self, momentum: float) -> None:
        """Move the target towards the encoder; nothing where there is none."""
        if self.model.target is not None:
            update_average(self.model.target, self.model.encoder, momentum)


def standardised(features: Tensor, share: Share = WHOLE) -> Tensor:
    """Features (N, D) less their mean over the batch, over their deviation: batch normalisation without weights.

    Args:
        share: of the batch that they are; mean and deviation are of all processes' rows.
    """
    centred = features - share.mean(features)
    out: Tensor = centred / (share.mean(centred.square()) + LEAST_VARIANCE).sqrt()
    return out
