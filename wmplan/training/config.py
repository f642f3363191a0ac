"""What a training run is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from wmplan.data.symmetry import Symmetry
from wmplan.deprecated import STAGES, renamed_arguments
from wmplan.errors import UserError
from wmplan.machine import MOST_THREADS
from wmplan.planning.action_kinds import KINDS
from wmplan.settings.build import convert_fields
from wmplan.settings.numbers import MAX_SEED, whole_number
from wmplan.training.loggers import LoggerName
from wmplan.training.precision import Precision, from_old_setting
from wmplan.training.regions import Region


def require(holds: bool, message: str) -> None:
    """Raise a UserError unless the condition holds."""
    if not holds:
        raise UserError(message)


@dataclass(frozen=True)
class StageConfig:
    """One stage: how long, how much at a time, how fast.

    Attributes:
        steps: optimiser steps; 0 leaves the stage out.
        batch_size: windows (or pairs, or frames) a step.
        learning_rate: at its peak, after a warm-up and before a cosine decay.
        weight_decay: decoupled, as AdamW's.
        optimizer: "adamw", or "muon", which learns what moves a latent little much sooner; see Muon.
        save_every: steps between saves, each with an evaluation.
    """

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 1e-4
    save_every: int = 1000
    optimizer: str = "adamw"

    def __post_init__(self) -> None:
        convert_fields(self)
        require(self.steps >= 0, f"steps must be at least 0, got {self.steps}")
        for name in ("batch_size", "save_every"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}")
        require(self.learning_rate > 0, f"learning_rate must be above 0, got {self.learning_rate}")
        require(self.optimizer in ("adamw", "muon"), f"optimizer must be 'adamw' or 'muon', got {self.optimizer!r}")
        require(self.weight_decay >= 0, f"weight_decay must be at least 0, got {self.weight_decay}")


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms of the first stage; 0 leaves a term out.

    Attributes:
        target: "shared": the prediction's target is the same encoder, with its gradient; "ema": a moving average of it,
            without gradient (BYOL, I-JEPA).
        ema_momentum: of that average.
        prediction: of the latents to come.
        contrastive: InfoNCE on those of the scene: each prediction is told from all other targets of the batch (CPC).
        sigreg: Gaussian random projections (LeJEPA).
        variance, covariance: the two terms of VICReg.
        inverse: the action between two latents, read off both.
        proprio: the robot's state, read off one latent.
    """

    target: str = "shared"
    ema_momentum: float = 0.99
    prediction: float = 3.0
    contrastive: float = 1.0
    sigreg: float = 0.05
    variance: float = 1.0
    covariance: float = 0.3
    inverse: float = 0.3
    proprio: float = 1.0

    def __post_init__(self) -> None:
        convert_fields(self, "loss")
        require(self.target in ("shared", "ema"), f"target must be 'shared' or 'ema', got {self.target!r}")
        require(0 <= self.ema_momentum < 1, f"ema_momentum must be in [0, 1), got {self.ema_momentum}")
        for name in ("prediction", "contrastive", "sigreg", "variance", "covariance", "inverse", "proprio"):
            require(getattr(self, name) >= 0, f"{name} must be at least 0, got {getattr(self, name)}")


@renamed_arguments(STAGES)
@dataclass(frozen=True)
class TrainConfig:
    """A whole run: what `wmplan train` takes.

    Attributes:
        data: folder of the data set.
        more_data: of further ones of the same robot, of any task, on whose episodes it trains as well.
        out: folder of the run; run again with the same settings, it goes on.
        name: of the model, in its card.
        task: Gymnasium id that the data has to be of; None takes any.
        planning: planner and objective settings that the card recommends.
        seed: of the weights, the order of the data and the regularisers.
        history: context frames of the predictor.
        rollout: model steps that the joint stage predicts; the dynamics stage predicts five.
        action_block: robot steps in a model step.
        proprio: whether the robot's state is part of the latent.
        control_rate: robot steps in a second; None for the data's rows. Of data with n times as many rows every n-th is
            taken, and the actions between made one by their kinds.
        data_rate: rows in a second, for data that does not say it; None for control_rate.
        action_kind: what the numbers of an action are: velocity, delta (a displacement in one robot step), absolute (a
            position), rotation_6d (six numbers) or gripper (open or closed), one for each, or one for all.
        action_bounds: where the bounds come from: "given" by action_low and action_high, "data" for those of the data
            set, or the smallest and largest seen where it does not say them, "quantiles" for the 1 % and 99 % quantiles
            of the training episodes. None for those that are given, and the data's.
        action_low, action_high: bounds of one robot step's action.
        cameras: columns of the data's frames that the model sees, by the names that it will call them; None for the
            column `pixels`, or the only camera.
        camera_encoders: "own" for an encoder a camera, "shared" for one that all cameras go through.
        encoder, encoder_options: the network from frames to latents, by name.
        latent_dim: numbers in the latent of one camera's scene.
        robot_dim: numbers that a small encoder of the robot alone adds to it; 0 for none.
        predictor: hidden_state, mlp, recurrent, transformer, or a plug-in's.
        predictor_options: of the predictor; see wmplan.models.predictors.
        joint_predictor: what the joint stage trains the encoder with; None for the model's own predictor, as where no
            dynamics stage would train that.
        joint_predictor_options: of that one.
        critic_options: of the critic; see wmplan.models.critic.
        decoder_options: of the decoder: its kind, sprites where nothing is said or broadcast, and what that takes; see
            wmplan.models.decoder.
        pretrained: a model, by folder or name, whose encoder is taken over, or an encoder of wmplan pretrain; then
            there is no first stage. What else no stage trains (steps=0) is taken over with it: predictor, critic,
            decoder.
        fine_tune: let these begin from the pretrained model's where a stage trains them, instead of anew; at a lower
            learning rate and for fewer steps.
        train_encoder: let the pretrained encoder go through the joint stage, instead of staying as it is.
        loss: of the first stage.
        joint: encoder and predictor end to end; its optimizer is the encoder's, the predictor takes AdamW's steps.
            steps=0 with an encoder that is frozen (hf): all is trained on its latents, which are computed once.
        dynamics: the predictor alone, on the frozen encoder's cached latents; steps=0 for training in one stage.
        appearance: a second encoder, on data with pixels_varied (wmplan collect varied_frames=true), or front_varied
            for a camera front: it gives frames of worlds that look otherwise the latents of the nominal ones; steps=0
            leaves it out.
        appearance_blocks: residual blocks that it has more than the first; they begin as nothing.
        critic, decoder: from latents to steps between them, and to images for people; both on cached latents.
        reader: a network of its own that reads the robot's state off goals, for robots that have to get nearer to a
            goal image than the latent tells; on proprioception, and on pixels_varied too where the data has it;
            steps=0 leaves it out.
        reader_options: of it; see wmplan.models.state_reader.
        placement: a network that puts a latent's robot elsewhere, for goals of which a part counts (masks); on frames
            of a window between which only the robot moved; steps=0 leaves it out.
        placement_options: of it; see wmplan.models.robot_placement.
        placement_pixels: share of a frame's pixels that differ at most where only the robot moved: twice what it
            covers.
        memory: what is out of sight stays known: of a model that there is (pretrained, dynamics.steps=0), a network
            that corrects its latents by what it had predicted, over the last `history` frames; on frames behind strips
            that are drawn for it; steps=0 leaves it out. A later run that trains the predictor or the encoder drops it.
        memory_options: of it; see wmplan.models.latent_memory.
        symmetries: of the task, by name: the predictor trains on the copies of the data as well.
        symmetry_tolerance: by what share copies may be predicted worse than what was recorded, see SymmetryTest; a
            symmetry beyond it is left out.
        regions: of the task, by name: the probe's errors are told for each.
        latent_noise: of the latents that the predictor starts from in the dynamics stage, in one-step changes.
        state_weight: of the robot's state in the dynamics stage, beside the whole latent; see state_loss().
        expectile: of the critic's regression: below 0.5 it learns the shorter ways between two latents.
        imagined: share of the critic's pairs that begin at what the predictor imagines instead of what was recorded.
        validation: share of the episodes that nothing is trained on.
        device: to train on: cpu, cuda, cuda:1 or mps; auto for CUDA where there is any, else the processor.
        devices: how many of them, each with a process of its own and its part of every batch; results are the same but
            for rounding. With more than one device is auto, cpu or cuda. Needs pip install 'wmplan[scale]'.
        precision: bf16 multiplies in bfloat16, in convolutions and linear layers; 32 does not; auto does where the
            device has it in hardware.
        logger: where figures go beside our own curves: none, tensorboard (OUT/tensorboard) or wandb
            (WANDB_MODE=offline keeps them in OUT/wandb_runs).
        threads: of torch; 0 for all cores.
        bfloat16: old name of precision.
        half: store the exported weights in half precision.
    """

    data: str
    out: str
    name: str = "model"
    task: str | None = None
    planning: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    history: int = 2
    rollout: int = 2
    action_block: int = 5
    proprio: bool = True
    control_rate: float | None = None
    data_rate: float | None = None
    action_kind: tuple[str, ...] = ()
    action_bounds: Literal["given", "data", "quantiles"] | None = None
    action_low: tuple[float, ...] | None = None
    action_high: tuple[float, ...] | None = None
    cameras: tuple[str, ...] | None = None
    camera_encoders: Literal["own", "shared"] = "own"
    encoder: str = "keypoint"
    encoder_options: dict[str, Any] = field(default_factory=dict)
    latent_dim: int = 32
    robot_dim: int = 8
    predictor: str = "hidden_state"
    predictor_options: dict[str, Any] = field(default_factory=dict)
    joint_predictor: str | None = "mlp"
    joint_predictor_options: dict[str, Any] = field(default_factory=lambda: {"width": 512})
    critic_options: dict[str, Any] = field(default_factory=dict)
    decoder_options: dict[str, Any] = field(default_factory=dict)
    pretrained: str | None = None
    fine_tune: bool = False
    train_encoder: bool = False
    loss: LossConfig = field(default_factory=LossConfig)
    joint: StageConfig = field(default_factory=lambda: StageConfig(2400, 80, 3e-3, save_every=400, optimizer="muon"))
    dynamics: StageConfig = field(
        default_factory=lambda: StageConfig(7500, 256, 3e-3, save_every=500, optimizer="muon")
    )
    appearance: StageConfig = field(default_factory=lambda: StageConfig(0, 192, 2e-3, save_every=500, optimizer="muon"))
    appearance_blocks: int = 2
    critic: StageConfig = field(default_factory=lambda: StageConfig(2000, 512, 1e-3, save_every=500))
    decoder: StageConfig = field(default_factory=lambda: StageConfig(4000, 32, 2e-3, save_every=500))
    reader: StageConfig = field(default_factory=lambda: StageConfig(0, 256, 3e-3, save_every=500, optimizer="muon"))
    reader_options: dict[str, Any] = field(default_factory=dict)
    placement: StageConfig = field(default_factory=lambda: StageConfig(0, 64, 3e-3, save_every=1000))
    placement_options: dict[str, Any] = field(default_factory=dict)
    placement_pixels: float = 0.01
    memory: StageConfig = field(default_factory=lambda: StageConfig(0, 64, 1e-3, save_every=500))
    memory_options: dict[str, Any] = field(default_factory=dict)
    symmetries: dict[str, Symmetry] = field(default_factory=dict)
    symmetry_tolerance: float = 0.1
    regions: dict[str, Region] = field(default_factory=dict)
    latent_noise: float = 0.0
    state_weight: float = 0.0
    expectile: float = 0.2
    imagined: float = 0.5
    validation: float = 0.03
    threads: int = 0
    device: str | None = "auto"
    devices: int = 1
    precision: Precision = "auto"
    logger: LoggerName = "none"
    bfloat16: bool | None = None
    half: bool = True
    more_data: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        convert_fields(self)
        object.__setattr__(self, "precision", from_old_setting(self.bfloat16, self.precision))
        object.__setattr__(self, "bfloat16", None)
        for name in ("history", "rollout", "action_block", "latent_dim", "devices"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}")
        names = self.camera_names
        require(len(set(names)) == len(names) > 0, f"cameras must be at least one name, and no name twice, got {names}")
        whole_number(self.seed, "seed", 0, MAX_SEED - 2)  # the stages count on from it
        require(self.proprio or self.reader.steps == 0, "reader.steps must be 0 with proprio=false: nothing is read")
        require(
            self.proprio or self.placement.steps == 0, "placement.steps must be 0 with proprio=false: it is on states"
        )
        require(0 < self.placement_pixels < 1, f"placement_pixels must be between 0 and 1, got {self.placement_pixels}")
        if self.memory.steps:
            require(
                self.pretrained is not None and not self.dynamics.steps and not self.train_encoder,
                "memory.steps needs a predictor that stays as it is: pretrained=MODEL dynamics.steps=0",
            )
        require(self.appearance_blocks >= 0, f"appearance_blocks must be at least 0, got {self.appearance_blocks}")
        require(self.symmetry_tolerance >= 0, f"symmetry_tolerance must be at least 0, got {self.symmetry_tolerance}")
        for name in ("control_rate", "data_rate"):
            rate = getattr(self, name)
            require(rate is None or 0 < rate < math.inf, f"{name} must be above 0 and finite, got {rate}")
        require(
            set(self.action_kind) <= set(KINDS), f"action_kind must be of {', '.join(KINDS)}, got {self.action_kind}"
        )
        given = [name for name in ("action_low", "action_high") if getattr(self, name) is not None]
        if self.action_bounds == "given":
            require(len(given) == 2, "action_bounds is given, so that action_low and action_high must be set")
        elif self.action_bounds is not None:
            require(not given, f"action_bounds is {self.action_bounds}: leave out {' and '.join(given)}")
        require(self.latent_noise >= 0, f"latent_noise must be at least 0, got {self.latent_noise}")
        require(self.state_weight >= 0, f"state_weight must be at least 0, got {self.state_weight}")
        require(self.proprio or not self.state_weight, "state_weight must be 0 with proprio=false: there is no state")
        require(0 < self.expectile < 1, f"expectile must be between 0 and 1, got {self.expectile}")
        require(0 <= self.imagined <= 1, f"imagined must be from 0 to 1, got {self.imagined}")
        require(0 < self.validation < 1, f"validation must be between 0 and 1, got {self.validation}")
        require(0 <= self.threads <= MOST_THREADS, f"threads must be from 0 to {MOST_THREADS}, got {self.threads}")
        for name in ("fine_tune", "train_encoder"):
            chosen = getattr(self, name)
            require(self.pretrained is not None or not chosen, f"{name} needs pretrained=MODEL to begin from")

    @property
    def bounds_source(self) -> str:
        """Where the bounds of actions come from, in words."""
        if self.action_bounds is not None:
            return self.action_bounds
        given = [name for name in ("action_low", "action_high") if getattr(self, name) is not None]
        return "given" if len(given) == 2 else f"{given[0]} given, the other of the data" if given else "data"

    @property
    def camera_names(self) -> tuple[str, ...]:
        """The data's columns of frames, in the order in which they are encoded."""
        return ("pixels",) if self.cameras is None else self.cameras
