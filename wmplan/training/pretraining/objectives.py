"""The objectives of pretraining: tokens that are hidden are predicted from those that are seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wmplan.models.encoders.token_vit import take
from wmplan.models.video_jepa import VideoJEPA
from wmplan.training.losses import sigreg, update_average
from wmplan.training.precision import bfloat16_products
from wmplan.training.pretraining.masks import MaskConfig, draw_masks
from wmplan.training.stage import Batch

Distance = Callable[[Tensor, Tensor], Tensor]
DISTANCES: dict[str, Distance] = {"ijepa": F.smooth_l1_loss, "vjepa": F.l1_loss, "lejepa": F.mse_loss}


class MaskedPrediction(nn.Module):
    """A model in training: what it predicts, how far off it is, and what keeps its features apart.

    Args:
        model: what is trained.
        objective: ijepa and vjepa compare with the layer-normalised tokens of the model's moving average; lejepa with
            the projected tokens of the encoder itself, whose mean SIGReg makes Gaussian over the clips of a batch. Were
            it all tokens, their places alone could make them so.
        masks: each is drawn anew for every batch, and is a pass of the predictor.
        sigreg_share: of SIGReg in the loss of lejepa.
        bfloat16: multiply in bfloat16; the losses stay in float32.
    """

    def __init__(
        self,
        model: VideoJEPA,
        objective: str,
        masks: Sequence[MaskConfig],
        *,
        sigreg_share: float = 0.1,
        bfloat16: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.masks, self.distance = model, tuple(masks), DISTANCES[objective]
        self.sigreg_share, self.multiply_bfloat16 = sigreg_share, bfloat16

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Mean prediction error over the masks, and SIGReg where the target is the encoder itself.

        Args:
            batch: `pixels`, clips, uint8 (N, T, H, W, 3).
            generator: draws the masks, and the directions of SIGReg.
        """
        model = self.model
        clips = batch["pixels"].to(model.encoder.embed.weight.device)
        targets = self.targets(clips)  # (N, tokens, D)
        errors, hidden_tokens = [], 0
        for config in self.masks:
            seen, hidden = (
                part.to(clips.device) for part in draw_masks(model.encoder.grid, len(clips), config, generator)
            )
            with bfloat16_products(self.multiply_bfloat16, clips.device):
                predicted = model.predictor(model.encoder(clips, seen), seen, hidden).float()
            errors.append(self.distance(predicted, take(targets, hidden)))
            hidden_tokens += hidden.shape[1]
        prediction = torch.stack(errors).mean()
        figures = {
            "prediction": prediction.item(),
            "hidden": round(hidden_tokens / (len(self.masks) * targets.shape[1]), 4),
        }
        if model.projection is None:
            return prediction, figures
        gaussian = sigreg(targets.mean(1), generator)
        figures["sigreg"] = gaussian.item()
        return (1 - self.sigreg_share) * prediction + self.sigreg_share * gaussian, figures

    def targets(self, clips: Tensor) -> Tensor:
        """What predictions are compared with, float32 (N, tokens, D)."""
        model = self.model
        with bfloat16_products(self.multiply_bfloat16, clips.device):
            if model.projection is not None:
                return model.projection(model.encoder(clips)).float()  # type: ignore[no-any-return]
            with torch.no_grad():
                tokens = model.used(clips).float()
        return F.layer_norm(tokens, tokens.shape[-1:])

    def update_target(self, momentum: float) -> None:
        """Move the target towards the encoder; nothing where there is none."""
        if self.model.target is not None:
            update_average(self.model.target, self.model.encoder, momentum)
