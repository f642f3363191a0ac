"""The first stage: encoder and predictor end to end, on windows of frames."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from wmplan.models import JEPA
from wmplan.models.sizing import build_to_train
from wmplan.training.config import LossConfig
from wmplan.training.losses import (
    contrastive_prediction,
    sigreg,
    update_average,
    variance_covariance,
)
from wmplan.training.precision import bfloat16_products
from wmplan.training.ranks import WHOLE, Share
from wmplan.training.stage import Batch


def with_predictor(model: JEPA, name: str, options: Mapping[str, Any]) -> JEPA:
    """A model that shares the encoder of `model` and its head for proprioception, with a predictor of its own.

    The predictor that shapes an encoder best need not be the one that plans best.
    """
    config = replace(
        model.config,
        predictor=name,
        predictor_options=dict(options),
        critic=False,
        decoder=False,
        reader=False,
        placement=False,
        memory=False,
        window=None,
    )
    other = build_to_train(lambda: JEPA(config, model.spec))
    other.encoder, other.proprio_head = model.encoder, model.proprio_head
    return other


class Joint(nn.Module):
    """A JEPA with what only its training needs: an inverse-dynamics head and, if asked for, a target encoder.

    Args:
        model: what is trained, but for its critic, its decoder, its reader, its placement and its memory.
        config: the weights of the terms.
        bfloat16: multiply in bfloat16 in the encoder and the predictor; the losses stay in float32.
        share: of each batch that this process has.
    """

    def __init__(self, model: JEPA, config: LossConfig, bfloat16: bool = False, share: Share = WHOLE) -> None:
        super().__init__()
        self.model, self.config, self.multiply_bfloat16, self.share = model, config, bfloat16, share
        spec, robot = model.spec, len(model.robot)
        self.inverse = nn.Sequential(nn.Linear(2 * robot, 256), nn.GELU(), nn.Linear(256, spec.block_dim))
        self.target: nn.Module | None = None
        if config.target == "ema":
            self.target = copy.deepcopy(model.encoder).requires_grad_(False)
        # These have stages of their own.
        for part in (model.critic, model.decoder, model.reader, model.placement, model.memory):
            if part is not None:
                part.requires_grad_(False)

    def update_target(self) -> None:
        """Move the target encoder towards the encoder; nothing where there is none."""
        if self.target is not None:
            update_average(self.target, self.model.encoder, self.config.ema_momentum)

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Prediction over the whole rollout, from full and from one-frame contexts, plus the configured terms.

        Args:
            batch: the cameras' frames, uint8 (N, T, H, W, 3), `action` (N, T - 1, A), `proprio` (N, T, P) if the model
                has it.
            generator: draws the context length and the directions of SIGReg.
        """
        model, weights, share = self.model, self.config, self.share
        device = model.visual_mean.device
        with bfloat16_products(self.multiply_bfloat16, device):
            visual = model.encode_visual(batch)  # (N, T, D), float32 again
        state = visual[..., :0]  # (N, T, P or 0)
        if model.spec.proprio_dim:
            state = model.normalise_proprio(batch["proprio"])
        latents = torch.cat([visual, state], -1)
        targets = latents
        if self.target is not None:
            with torch.no_grad():
                views = model.views(batch)
                with bfloat16_products(self.multiply_bfloat16, device):
                    aimed = self.target([view.flatten(0, 1) for view in views]).unflatten(0, visual.shape[:2])
                targets = torch.cat([(aimed - model.visual_mean) / model.visual_std, state], -1)
        actions = batch["action"]
        short = torch.rand((), generator=generator) < 0.2  # a robot that has just been switched on has one frame
        context = 1 if short else model.spec.history
        with bfloat16_products(self.multiply_bfloat16, device):
            predicted = model.predict_windows(latents, actions, context).float()  # (N, T - context, L)
        prediction = share.weight * (predicted - targets[:, context:]).square().mean()
        total = weights.prediction * prediction
        figures = {"prediction": prediction.item()}
        if weights.contrastive:
            guessed_scenes, scenes = (one[..., model.scene].flatten(0, 1) for one in (predicted, targets[:, context:]))
            contrastive = share.weight * contrastive_prediction(guessed_scenes, scenes, share)
            total = total + weights.contrastive * contrastive
            figures["contrastive"] = contrastive.item()
        flat = visual.flatten(0, 1)  # (N T, D)
        if weights.sigreg:
            gaussian = sigreg(flat, generator, share=share)
            total = total + weights.sigreg * gaussian
            figures["sigreg"] = gaussian.item()
        if weights.variance or weights.covariance:
            variance, covariance = variance_covariance(flat, share)
            total = total + weights.variance * variance + weights.covariance * covariance
            figures |= {"variance": variance.item(), "covariance": covariance.item()}
        if weights.inverse:
            robot = visual[..., model.robot]
            guessed = self.inverse(torch.cat([robot[:, :-1], robot[:, 1:]], -1))
            inverse = share.weight * (guessed - model.normalise_actions(actions)).square().mean()
            total = total + weights.inverse * inverse
            figures["inverse"] = inverse.item()
        if weights.proprio and model.proprio_head is not None:
            proprio = share.weight * (model.proprio_head(visual[..., model.robot]) - state).square().mean()
            total = total + weights.proprio * proprio
            figures["proprio"] = proprio.item()
        return total, figures
