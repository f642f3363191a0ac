"""What a pretraining run is made of, and what each objective takes where nothing is said."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from wmplan.machine import MOST_THREADS
from wmplan.models.base import MOST_PIXELS
from wmplan.models.video_jepa import ViTConfig
from wmplan.settings.build import convert_fields
from wmplan.settings.numbers import MAX_SEED, require_image_size, whole_number
from wmplan.training.config import require
from wmplan.training.loggers import LoggerName
from wmplan.training.precision import Precision, from_old_setting
from wmplan.training.pretraining.masks import MaskConfig

Objective = Literal["ijepa", "vjepa", "lejepa", "next"]
Targets = Literal["standard", "layer"]


@dataclass(frozen=True)
class Recipe:
    """What an objective takes where nothing is said.

    Attributes:
        frames, tubelet: of a clip, and of a token.
        masks: each a pass of the predictor.
        momentum: of the moving average, at the first step and at the last; None where the target is the encoder itself.
        schedule: of the learning rate.
    """

    frames: int
    tubelet: int
    masks: tuple[MaskConfig, ...]
    momentum: tuple[float, float] | None
    schedule: Literal["cosine", "constant"]

    def vit(self, sizes: ViTConfig) -> ViTConfig:
        """The sizes, with the tubelet that is taken where they say none: one frame where a clip has but one.

        Raises:
            UserError: where a token would have more frames than a clip.
        """
        require(
            sizes.tubelet is None or sizes.tubelet <= self.frames,
            f"vit.tubelet must be at most the clip's frames, {self.frames}, got {sizes.tubelet}",
        )
        return replace(sizes, tubelet=sizes.tubelet or min(self.tubelet, self.frames))


BLOCKS = MaskConfig(blocks=4, scale=(0.15, 0.2), context=(0.85, 1.0))
RECIPES: dict[str, Recipe] = {
    "ijepa": Recipe(1, 1, (BLOCKS,), (0.996, 1.0), "cosine"),
    "vjepa": Recipe(8, 2, (MaskConfig(8, (0.15, 0.15)), MaskConfig(2, (0.7, 0.7))), (0.99925, 0.99925), "constant"),
    "lejepa": Recipe(1, 1, (BLOCKS,), None, "cosine"),
    "next": Recipe(20, 2, (), None, "cosine"),
}
"""I-JEPA (Assran et al. 2023), V-JEPA 2 (Assran et al. 2025) with shorter clips, LeJEPA (Balestriero & LeCun 2025)."""


@dataclass(frozen=True)
class PretrainConfig:
    """A whole run: what `wmplan pretrain` takes.

    Attributes:
        data: a data set of episodes, a folder of images, or a folder of videos.
        out: folder of the run; run again with the same settings, it goes on.
        objective: ijepa and vjepa predict the tokens of a moving average of the encoder, of images and of clips; lejepa
            predicts the encoder's own, which SIGReg keeps from collapsing.
        name: of the encoder, in its card.
        camera: of several cameras the one that is looked at; null for the only one.
        image_size: [height, width] that images and videos are brought to, 64 x 64 where it is null; a data set's frames
            stay as they are.
        frames: of a clip; null for what the objective takes, 8 for vjepa and 1 for the others.
        stride: rows between two frames of a clip.
        vit: the encoder's sizes.
        masks: what is hidden, each entry a pass of the predictor; null for what the objective takes.
        momentum: of the moving average at the first and the last step; null for what the objective takes. Features
            collapse where it is too low: take .99 to .9995, for video above .999.
        momentum_warm_up: let the average follow faster at first, at most (1 + n) / (10 + n) after n steps. Without, a
            short run compares with little but the untrained network.
        targets: how tokens are normalised before they are compared: "standard", less the mean of their place over the
            data and over the deviation of their channel; "layer", those of an average each by itself, and lejepa's not
            at all, as published for I-JEPA and V-JEPA.
        sigreg: share of SIGReg in the loss, the rest is prediction; .1 to .5 for lejepa. Beside a moving average it
            acts on the standardised mean of a clip's features, and 0 is what was published.
        projection: numbers that lejepa maps tokens to before it compares them.
        steps: optimiser steps; 0 writes the untrained network, for comparisons.
        batch_size: clips a step.
        optimizer: adamw, or muon, which takes fewer steps on few data; the learning rate means the same.
        learning_rate: at its peak.
        warm_up: share of the steps in which it rises to that.
        schedule: then a cosine down to nothing, or constant but for the last tenth; null for what the objective takes.
        weight_decay: at the first step and at the last, decoupled, as AdamW's.
        save_every: steps between reports, each with measures of health and a save.
        seed: of the weights, the order of the data and the masks.
        validation: share of the episodes, images or videos that are held out.
        device: to train on: cpu, cuda, cuda:1 or mps; auto for CUDA where there is any, else the processor.
        devices: how many of them, each with a process of its own and its part of every batch; results are the same but
            for rounding. With more than one device is auto, cpu or cuda. Needs pip install 'wmplan[scale]'.
        precision: bf16 multiplies in bfloat16; 32 does not; auto does where the device has it in hardware.
        logger: where figures go beside our own curves: none, tensorboard (OUT/tensorboard) or wandb
            (WANDB_MODE=offline keeps them in OUT/wandb_runs).
        threads: of torch; 0 for all cores.
        bfloat16: old name of precision.
        half: store the weights in half precision.
    """

    data: str
    out: str
    objective: Objective = "ijepa"
    name: str = "encoder"
    camera: str | None = None
    image_size: tuple[int, int] | None = None
    frames: int | None = None
    stride: int = 1
    vit: ViTConfig = field(default_factory=ViTConfig)
    masks: tuple[MaskConfig, ...] | None = None
    momentum: tuple[float, float] | None = None
    momentum_warm_up: bool = True
    targets: Targets = "standard"
    sigreg: float = 0.1
    projection: int = 64
    steps: int = 10000
    batch_size: int = 64
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-3
    warm_up: float = 0.1
    schedule: Literal["cosine", "constant"] | None = None
    weight_decay: tuple[float, float] = (0.04, 0.4)
    save_every: int = 500
    seed: int = 0
    validation: float = 0.05
    device: str | None = "auto"
    devices: int = 1
    precision: Precision = "auto"
    logger: LoggerName = "none"
    threads: int = 0
    bfloat16: bool | None = None
    half: bool = True

    def __post_init__(self) -> None:
        convert_fields(self)
        require(self.steps >= 0, f"steps must be at least 0, got {self.steps}")
        object.__setattr__(self, "precision", from_old_setting(self.bfloat16, self.precision))
        object.__setattr__(self, "bfloat16", None)
        for name in ("stride", "projection", "batch_size", "save_every", "devices"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}")
        require(self.frames is None or self.frames >= 1, f"frames must be at least 1, got {self.frames}")
        if self.image_size is not None:
            require_image_size(self.image_size, 1, MOST_PIXELS)
        require(self.masks is None or len(self.masks) > 0, "masks must have at least one entry, got []")
        momentum = self.momentum or (0.0, 0.0)
        require(all(0 <= one <= 1 for one in momentum), f"momentum must be two from 0 to 1, got {list(momentum)}")
        require(
            self.momentum is None or RECIPES[self.objective].momentum is not None,
            f"momentum is of a moving average, which objective={self.objective} has not: leave it out",
        )
        require(
            self.masks is None or self.objective != "next",
            "masks are of tokens that are hidden, which objective=next has not: leave them out",
        )
        if self.objective == "next":
            for name in ("targets", "momentum_warm_up", "sigreg", "projection"):
                value, default = getattr(self, name), getattr(PretrainConfig, name)
                require(value == default, f"{name} is of features, objective=next predicts colours: leave it out")
        require(0 <= self.sigreg < 1, f"sigreg must be at least 0 and below 1, got {self.sigreg}")
        require(self.learning_rate > 0, f"learning_rate must be above 0, got {self.learning_rate}")
        require(0 <= self.warm_up < 1, f"warm_up must be a share of the steps below 1, got {self.warm_up}")
        require(min(self.weight_decay) >= 0, f"weight_decay must be at least 0, got {list(self.weight_decay)}")
        require(0 < self.validation < 1, f"validation must be between 0 and 1, got {self.validation}")
        require(0 <= self.threads <= MOST_THREADS, f"threads must be from 0 to {MOST_THREADS}, got {self.threads}")
        whole_number(self.seed, "seed", 0, MAX_SEED)

    @property
    def recipe(self) -> Recipe:
        """What the objective takes, with what is said in its place."""
        base = RECIPES[self.objective]
        return Recipe(
            self.frames or base.frames,
            base.tubelet,
            self.masks or base.masks,
            self.momentum or base.momentum,
            self.schedule or base.schedule,
        )
