"""`wmplan pretrain`: from frames without actions to an encoder, in one stage that goes on where it was stopped."""

from __future__ import annotations

import shutil
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmplan.data import WindowSampler
from wmplan.data.fingerprint import fingerprint
from wmplan.data.frames import open_frames
from wmplan.data.readers.frame_folders import FrameFolder
from wmplan.data.sampler import split_episodes
from wmplan.device import find_device
from wmplan.errors import UserError
from wmplan.models import VideoJEPA, save
from wmplan.models.sizing import build_to_train
from wmplan.models.video_jepa import ClipSpec
from wmplan.training.curves import draw_curves
from wmplan.training.identity import claim, compared, read_record
from wmplan.training.initial_model import seeded_initialisation
from wmplan.training.loggers import Logger, NoLogger, make_logger, require_logger
from wmplan.training.precision import multiplies_bfloat16
from wmplan.training.pretraining import health, schedules
from wmplan.training.pretraining.card import card
from wmplan.training.pretraining.config import PretrainConfig
from wmplan.training.pretraining.masks import require_grid
from wmplan.training.pretraining.next_prediction import NextPrediction
from wmplan.training.pretraining.objectives import MaskedPrediction
from wmplan.training.ranks import Ranks
from wmplan.training.runs import carry_out
from wmplan.training.stage import Stage
from wmplan.training.states import state_names

STAGE = "pretrain"
FITTED, HELD = 1024, 256
"""Frames that the probe is fitted on, and held-out ones that all measures of health are taken on, at most."""


def pretrain(config: PretrainConfig) -> VideoJEPA:
    """Pretrain, or go on with, the encoder of `config`; its checkpoint ends up in `out`/model.

    Raises:
        UserError: where the data, the folder or the configuration do not fit together.
    """
    model: VideoJEPA = carry_out(
        lambda ranks: Pretraining(config, ranks), threads=config.threads, device=config.device, devices=config.devices
    )
    return model


class Pretraining:
    """One pretraining run over one folder."""

    def __init__(self, config: PretrainConfig, ranks: Ranks | None = None) -> None:
        self.config, self.recipe, self.folder = config, config.recipe, Path(config.out)
        require_logger(config.logger)
        self.ranks = ranks or Ranks(find_device(config.device))
        self.share = self.ranks.share(config.batch_size)
        self.store = open_frames(config.data, camera=config.camera, image_size=config.image_size)
        if isinstance(self.store, FrameFolder) and self.store.skipped:
            print(f"note on data={config.data}: {self.store.told()}", file=sys.stderr)
        height, width = self.store.columns["pixels"][0][:2]
        self.spec = ClipSpec((height, width), self.recipe.frames, config.stride, self.store.meta.control_rate)
        with seeded_initialisation(config.seed):
            self.model = build_to_train(self.untrained)
        self.require_grid()
        record = read_record(config)
        usable = self.store.lengths > (self.recipe.frames - 1) * config.stride
        self.training, self.held = split_episodes(len(self.store), config.validation, usable=usable)
        if self.store.lengths[self.held].sum() < 2:  # of one nothing tells whether features spread
            raise UserError(
                f"data={config.data} must leave at least 2 frames to hold out, got 1: take more images, or raise "
                f"validation, which is {config.validation:g}"
            )
        self.batches = WindowSampler(
            self.store,
            self.recipe.frames,
            config.stride,
            config.batch_size,
            config.seed,
            episodes=self.training,
            columns=("pixels",),
            rows=(self.share.start, self.share.stop),
        )
        data = fingerprint(self.store, record and record["data"])
        self.made_from = claim(config, record, data, None, write=self.ranks.first)
        self.names = state_names(self.store)
        for encoder in (self.model.encoder, self.model.target):
            if encoder is not None:
                encoder.centre(torch.from_numpy(self.fitted_frames[0]))
        self.bfloat16 = multiplies_bfloat16(config.precision, self.ranks.device)
        self.logger: Logger = NoLogger()
        if self.ranks.first:
            self.logger = make_logger(config.logger, self.folder, config.name, compared(config))
        self.untrained_figures: dict[str, Any] = {}
        self.stage: Stage | None = None

    def require_grid(self) -> None:
        """Raise a UserError where the clips' tokens are too few for what is predicted of them."""
        grid = self.model.encoder.grid
        for masks in self.recipe.masks:
            require_grid(grid, masks)
        if self.config.objective == "next" and grid[0] < 2:
            raise UserError(
                "clips have 1 token along time, objective=next predicts the second and later ones: take more frames, "
                "or a smaller tubelet"
            )

    def untrained(self) -> VideoJEPA:
        """The model with its first weights."""
        if self.config.objective == "next":
            return VideoJEPA(self.spec, self.recipe.vit(self.config.vit), target=False, causal=True)
        return VideoJEPA(
            self.spec,
            self.recipe.vit(self.config.vit),
            target=self.recipe.momentum is not None,
            projection=0 if self.recipe.momentum is not None else self.config.projection,
            standard=self.config.targets == "standard",
        )

    def position(self) -> str:
        """Where the same command goes on; empty where it has not begun."""
        return "" if self.stage is None else self.stage.position()

    def run(self) -> VideoJEPA:
        """Train, then export."""
        self.stage = stage = self.make_stage()
        stage.resume()
        if not stage.rows:  # what the measures are of a network that has learned nothing
            self.model.eval()
            stage.rows.append({"step": 0, "seconds": 0.0, **self.health()})
        self.untrained_figures = stage.rows[0]
        stage.run()
        self.model.requires_grad_(True).eval()
        self.ranks.first_then_all(self.write)
        self.logger.close()
        return self.model

    def write(self) -> None:
        """The encoder with its card, by the first process."""
        if not self.ranks.first:
            return
        stage = self.stage
        assert stage is not None
        folder = self.folder / "model"
        figures = {key: value for key, value in stage.rows[-1].items() if key not in ("step", "seconds")}
        written = card(self.config, self.store, self.untrained_figures, figures, stage.seconds)
        save(self.model, folder, written, half=self.config.half)
        shutil.copy(draw_curves(self.folder, (STAGE,)), folder / "curves.png")

    def make_stage(self) -> Stage:
        """The stage, at its beginning."""
        config, recipe, model = self.config, self.recipe, self.model.to(self.ranks.device)
        objective: MaskedPrediction | NextPrediction
        if config.objective == "next":
            objective = NextPrediction(model, bfloat16=self.bfloat16, share=self.share)
        else:
            objective = MaskedPrediction(
                model,
                config.objective,
                recipe.masks,
                sigreg_share=config.sigreg,
                bfloat16=self.bfloat16,
                share=self.share,
            )
        return Stage(
            STAGE,
            objective,
            objective.loss,
            self.batches,
            steps=config.steps,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay[0],
            optimizer=config.optimizer,
            seed=config.seed + 1,
            folder=self.folder,
            after_step=lambda: objective.update_target(self.momentum or 0.0),
            evaluate=self.figures,
            save_every=config.save_every,
            frames_per_step=config.batch_size * recipe.frames,
            made_from=self.made_from,
            schedules={
                "lr": schedules.learning_rate(config.learning_rate, config.steps, config.warm_up, recipe.schedule),
                "weight_decay": schedules.between(*config.weight_decay, config.steps),
            },
            decay_matrices_only=True,
            ranks=self.ranks,
            logger=self.logger,
        )

    @property
    def momentum(self) -> float | None:
        """Of the moving average at the present step; None where there is none."""
        if self.recipe.momentum is None or self.stage is None:
            return None
        momentum = schedules.between(*self.recipe.momentum, self.config.steps)(self.stage.step)
        return schedules.warmed_up(momentum, self.stage.step) if self.config.momentum_warm_up else momentum

    # ------------------------------------------------------------------ health

    def figures(self, step: int) -> dict[str, Any]:
        """The measures of health, with an alarm where features collapsed."""
        found = self.health()
        if self.model.target is not None:
            found["lag"] = health.lag(self.model.target, self.model.encoder)
        fixed = self.config.objective == "next"  # such targets no features can make easy
        found["collapsed"] = not fixed and health.is_collapsed(found, self.untrained_figures)
        if found["collapsed"]:
            assert self.stage is not None
            cause = health.likely_cause(
                {**self.stage.latest, **found},
                [row["loss"] for row in (*self.stage.rows, self.stage.latest) if "loss" in row],
                objective=self.config.objective,
                momentum=self.momentum,
                learning_rate=self.config.learning_rate,
                sigreg=self.config.sigreg,
            )
            print(
                f"collapse alarm at step {step}: the features use {found['effective_rank']} dimensions and spread by "
                f"{found['spread']:.3g}, {self.untrained_figures['effective_rank']} and "
                f"{self.untrained_figures['spread']:.3g} before training. {cause}",
                file=sys.stderr,
            )
        return found

    def health(self) -> dict[str, Any]:
        """What the features of held-out frames hold."""
        frames, held_states = self.held_frames
        held = health.encode_frames(self.model, frames, self.bfloat16)  # (N, parts, D)
        figures: dict[str, Any] = {**health.feature_figures(held.mean(1)), "thumbnail_rank": self.thumbnail_rank}
        if self.names:
            seen, states = self.fitted_frames
            fitted = health.encode_frames(self.model, seen, self.bfloat16)
            figures["probe"] = health.relative_probe_errors(
                fitted.flatten(1), states, held.flatten(1), held_states, self.names
            )
            figures["probe_mean"] = round(float(np.mean(list(figures["probe"].values()))), 4)
        return figures

    @cached_property
    def fitted_frames(self) -> tuple[NDArray[np.uint8], Tensor]:
        """Frames of training episodes and their states."""
        return self.some_frames(self.training, FITTED)

    @cached_property
    def held_frames(self) -> tuple[NDArray[np.uint8], Tensor]:
        """Held-out frames and their states."""
        return self.some_frames(self.held, HELD)

    @cached_property
    def thumbnail_rank(self) -> float:
        """How much there is to tell apart in the held-out frames."""
        return round(health.thumbnail_rank(self.held_frames[0]), 2)

    def some_frames(self, episodes: NDArray[np.int64], count: int) -> tuple[NDArray[np.uint8], Tensor]:
        """At most `count` frames (N, H, W, 3) of some episodes, with their states (N, D), D being 0 without any."""
        columns = ("pixels", *(("state",) if self.names else ()))
        size = max(1, min(count, int(self.store.lengths[episodes].sum())))
        batch = next(iter(WindowSampler(self.store, 1, 1, size, 0, episodes=episodes, columns=columns)))
        states = batch["state"][:, 0].flatten(1).float() if self.names else torch.empty(size, 0)
        return batch["pixels"][:, 0].numpy(), states
