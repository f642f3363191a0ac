"""The world model that wmplan trains: an encoder, an action-conditioned predictor, and what planning needs beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor, nn

from wmplan.errors import UserError
from wmplan.models.base import Frames, ModelSpec, WorldModel
from wmplan.models.camera_encoders import CameraEncoders
from wmplan.models.critic import TemporalCritic
from wmplan.models.decoder import Decoder, decoder_with_defaults, make_decoder
from wmplan.models.encoders import ENCODERS, SecondLook, TwoStreams, make_encoder
from wmplan.models.encoders.second_look import grown, robot_blocks
from wmplan.models.known_contexts import weights_of
from wmplan.models.latent_memory import LatentMemory, PredictsNext
from wmplan.models.linear import Linear
from wmplan.models.predictors import PREDICTORS, HiddenStatePredictor, make_predictor
from wmplan.models.registry import with_defaults
from wmplan.models.robot_placement import RobotPlacement
from wmplan.models.sprite_decoder import SpriteDecoder
from wmplan.models.state_reader import StateReader
from wmplan.settings.build import convert_fields, convert_options
from wmplan.settings.numbers import whole_number


@dataclass(frozen=True)
class JEPAConfig:
    """What a JEPA is made of; what it expects and gives stands in its ModelSpec.

    Attributes:
        encoder: "keypoint", "impala", "vit" or "hf"; encoder_options are the keyword arguments of its class.
        latent_dim: numbers in the visual latent of one camera's scene.
        robot_dim: numbers that an encoder of the robot alone adds to it, see TwoStreams; 0 for no such encoder.
        second_look: residual blocks that a second encoder has more than the first, see SecondLook; None for no second.
        predictor: "mlp", "transformer", "hidden_state" or "recurrent"; predictor_options are the keyword arguments of
            its class.
        proprio_width: hidden width of the head that reads the robot's state off the visual latent, 0 for a linear one.
        critic: whether there is a TemporalCritic; critic_options are its keyword arguments.
        decoder: whether there is a decoder; decoder_options are its kind, "broadcast" or "sprites", and its keyword
            arguments.
        reader: whether there is a StateReader for goals; reader_options are its keyword arguments.
        placement: whether there is a RobotPlacement; placement_options are its keyword arguments.
        memory: whether there is a LatentMemory; memory_options are its keyword arguments.
        window: frames that the predictor looks at, the newest ones of the spec's history; None for all of it. Only
            with a memory, which looks at all.
        camera_encoders: "own" for an encoder a camera, "shared" for one that all cameras go through.
    """

    encoder: str = "keypoint"
    encoder_options: dict[str, Any] = field(default_factory=dict)
    latent_dim: int = 32
    robot_dim: int = 0
    second_look: int | None = None
    predictor: str = "mlp"
    predictor_options: dict[str, Any] = field(default_factory=dict)
    proprio_width: int = 128
    critic: bool = False
    critic_options: dict[str, Any] = field(default_factory=dict)
    decoder: bool = False
    decoder_options: dict[str, Any] = field(default_factory=dict)
    reader: bool = False
    reader_options: dict[str, Any] = field(default_factory=dict)
    placement: bool = False
    placement_options: dict[str, Any] = field(default_factory=dict)
    memory: bool = False
    memory_options: dict[str, Any] = field(default_factory=dict)
    window: int | None = None
    camera_encoders: Literal["own", "shared"] = "own"

    def __post_init__(self) -> None:
        convert_fields(self)
        for name, least in (("latent_dim", 1), ("robot_dim", 0), ("proprio_width", 0)):
            whole_number(getattr(self, name), name, least)
        if self.second_look is not None:
            whole_number(self.second_look, "second_look", 0)
        if self.window is not None:
            whole_number(self.window, "window", 1)
            if not self.memory:
                raise UserError("window must be left out without a memory: the predictor looks at the whole history")


class JEPA(WorldModel):
    """A joint-embedding predictive architecture (LeCun 2022) over flat latents.

    A latent is the visual latent followed by the standardised robot state: (D + P,), D counting all cameras, each
    [scene | robot].

    Attributes:
        encoder: uint8 frames, one tensor a camera, to raw visual latents; encode_visual() standardises these.
        predictor: the next latent from a window of latents and normalised actions.
        robot: which of the D numbers are of the robot's encoder, or all where there is none.
        scene: which of them are of the scene's encoder.
        proprio_head: from those to the standardised robot state, None if there is none.
        critic, decoder, reader, placement, memory: None where the configuration has none.
        whitening: W of shape (L, L), for the cost ||W (z - g)||^2; the identity until training sets it.
        error_scale: standard deviation of the one-step prediction error on held-out data, of shape (L,).
        visual_mean, visual_std: standardise the encoder's output, of shape (D,): for a frozen encoder whose latents
            have a scale of their own. Mean 0 and deviation 1 where the encoder was trained with the predictor.

    Raises:
        ValueError: if config and spec do not fit together, or config has options that do not exist.
    """

    robot: Tensor
    scene: Tensor
    whitening: Tensor
    error_scale: Tensor
    critic: TemporalCritic | None
    decoder: Decoder | SpriteDecoder | None
    reader: StateReader | None
    placement: RobotPlacement | None
    memory: LatentMemory | None
    visual_mean: Tensor
    visual_std: Tensor
    action_mean: Tensor
    action_std: Tensor
    still_action: Tensor
    proprio_mean: Tensor
    proprio_std: Tensor

    def __init__(self, config: JEPAConfig, spec: ModelSpec) -> None:
        super().__init__()
        self.config, self.spec = config, spec
        per_camera = config.latent_dim + config.robot_dim
        self.visual_dim = per_camera * len(spec.cameras)
        latent_dim = self.visual_dim + spec.proprio_dim
        if spec.latent_shape != (latent_dim,):
            raise UserError(
                f"latent_shape must be ({latent_dim},) with latent_dim {config.latent_dim}, robot_dim "
                f"{config.robot_dim}, {len(spec.cameras)} camera(s) and proprio_dim {spec.proprio_dim}, got "
                f"{spec.latent_shape}"
            )
        self.encoder = CameraEncoders(
            lambda: make_camera_encoder(config, spec.image_size), len(spec.cameras), config.camera_encoders
        )
        first = config.latent_dim if config.robot_dim else 0
        columns = torch.arange(self.visual_dim)
        self.register_buffer("robot", columns[columns % per_camera >= first], persistent=False)
        self.register_buffer("scene", columns[columns % per_camera < config.latent_dim], persistent=False)
        self.predictor = make_predictor(
            config.predictor,
            latent_dim,
            spec.block_dim,
            config.window or spec.history,
            spec.action_block,
            **config.predictor_options,
        )
        self.proprio_head = make_head(len(self.robot), spec.proprio_dim, config.proprio_width)
        if config.critic:
            options = convert_options(TemporalCritic, config.critic_options, "critic_options")
            self.critic = TemporalCritic(latent_dim, **options)
        if config.decoder:
            self.decoder = make_decoder(latent_dim, spec.image_size, config.decoder_options)
        self.reader = None
        if config.reader:
            if not spec.proprio_dim:
                raise UserError("reader must be false without proprioception: there is no robot state to read")
            options = convert_options(StateReader, config.reader_options, "reader_options")
            self.reader = StateReader(spec.image_size, len(spec.cameras), spec.proprio_dim, **options)
        self.placement = None
        if config.placement:
            if not spec.proprio_dim:
                raise UserError("placement must be false without proprioception: nothing says where the robot is")
            options = convert_options(RobotPlacement, config.placement_options, "placement_options")
            self.placement = RobotPlacement(self.visual_dim, spec.proprio_dim, **options)
        self.memory = None
        if config.memory:
            if self.predictor.history > spec.history:
                raise UserError(f"window must be at most history, {spec.history}, got {config.window}")
            options = convert_options(LatentMemory, config.memory_options, "memory_options")
            self.memory = LatentMemory(latent_dim, **options)
        self.register_buffer("whitening", torch.eye(latent_dim))
        self.register_buffer("error_scale", torch.ones(latent_dim))
        self.register_buffer("visual_mean", torch.zeros(self.visual_dim))
        self.register_buffer("visual_std", torch.ones(self.visual_dim))
        for name in ("action_mean", "action_std"):  # of a block: (A,); they come from the spec, so they are not stored
            block = torch.tensor(getattr(spec, name)).repeat(spec.action_block)
            self.register_buffer(name, block, persistent=False)
        still = torch.tensor(spec.neutral_action if spec.action_kinds else (0.0,) * spec.action_dim)
        self.register_buffer("still_action", still.repeat(spec.action_block), persistent=False)  # (A,)
        for name in ("proprio_mean", "proprio_std"):
            self.register_buffer(name, torch.tensor(getattr(spec, name)), persistent=False)

    @property
    def computes_in(self) -> torch.dtype:
        rounds = any(isinstance(one, Linear) and one.rounds for one in self.predictor.modules())
        return torch.bfloat16 if rounds else torch.float32

    def compute_in(self, dtype: torch.dtype) -> None:
        """See WorldModel. Frames are encoded in float32: a position read off a heatmap takes more than eight bits."""
        layers = [one for one in self.predictor.modules() if isinstance(one, Linear)]
        if dtype not in (torch.float32, torch.bfloat16) or not layers:
            super().compute_in(dtype)
        for layer in layers:
            layer.rounds = dtype == torch.bfloat16
        if isinstance(self.predictor, HiddenStatePredictor):
            self.predictor.rounds = dtype == torch.bfloat16

    @property
    def architecture(self) -> dict[str, Any]:
        """What a checkpoint says of how this model is built."""
        config = self.config
        options = {
            "encoder_options": with_defaults(ENCODERS[config.encoder], config.encoder_options),
            "predictor_options": with_defaults(PREDICTORS[config.predictor], config.predictor_options),
            "critic_options": with_defaults(TemporalCritic, config.critic_options),
            "decoder_options": decoder_with_defaults(config.decoder_options),
            "reader_options": with_defaults(StateReader, config.reader_options) if config.reader else {},
            "placement_options": (with_defaults(RobotPlacement, config.placement_options) if config.placement else {}),
            "memory_options": with_defaults(LatentMemory, config.memory_options) if config.memory else {},
        }
        return {"kind": "jepa", **asdict(config), **options}

    def add_second_look(self, blocks: int) -> None:
        """Give every camera a second encoder, a grown copy of its first; the latents stay what they are.

        Raises:
            UserError: of an encoder that cannot grow.
        """
        per_camera = self.config.latent_dim + self.config.robot_dim
        for index, encoder in enumerate(self.encoder):
            first = encoder.first if isinstance(encoder, SecondLook) else encoder
            self.encoder[index] = SecondLook(first, grown(first, blocks), per_camera)
        self.config = replace(self.config, second_look=blocks)

    # ------------------------------------------------------------------ frames to latents

    def encode(self, frames: Frames, proprio: Tensor | None = None) -> Tensor:
        return self.with_state(self.encode_visual(frames), proprio, frames)

    def encode_composed(self, frames: Frames, parts: Sequence[Frames], proprio: Tensor | None = None) -> Tensor:
        return self.with_state(self.encode_visual(frames, parts), proprio, frames)

    def with_state(self, visual: Tensor, proprio: Tensor | None, frames: Frames) -> Tensor:
        """Visual latents (B, T, D) of frames, followed by the robot state, given or read: (B, T, D + P)."""
        if proprio is not None:
            self.check_proprio(proprio, *visual.shape[:2])
        if self.proprio_head is None:
            return visual
        if proprio is not None:
            state = self.normalise_proprio(proprio)
        elif self.reads_state:
            state = self.read_state(frames)
        else:
            state = self.read_proprio(visual)
        return torch.cat([visual, state], -1)  # (B, T, D + P)

    @property
    def reads_proprio(self) -> bool:
        return self.proprio_head is not None

    @property
    def proprio_units(self) -> tuple[Tensor, Tensor] | None:
        return (self.proprio_mean, self.proprio_std) if self.spec.proprio_dim else None

    @property
    def robot_entries(self) -> Tensor:
        own = super().robot_entries
        if self.config.robot_dim:
            own[self.robot] = True
        return own

    def read_proprio(self, latents: Tensor) -> Tensor:
        if self.proprio_head is None:
            raise UserError("this model has no robot state in its latents")
        state: Tensor = self.proprio_head(latents[..., : self.visual_dim][..., self.robot])
        return state

    @property
    def reads_state(self) -> bool:
        return self.reader is not None

    def read_state(self, frames: Frames) -> Tensor:
        if self.reader is None:
            return super().read_state(frames)
        views = self.views(frames)
        rows = [view.to(self.visual_mean.device).flatten(0, 1) for view in views]
        state: Tensor = self.reader(rows)
        return state.unflatten(0, views[0].shape[:2])

    @property
    def places_robot(self) -> bool:
        return self.placement is not None

    def with_robot_at(self, latents: Tensor, state: Tensor) -> Tensor:
        if self.placement is None:
            return super().with_robot_at(latents, state)
        moved: Tensor = self.placement(latents, state)
        return moved

    def encode_visual(self, frames: Frames, parts: Sequence[Frames] = ()) -> Tensor:
        """Visual latents (B, T, D) of frames, as encode() takes them.

        Args:
            parts: what the frames were put together from, frames of the same shapes; see SecondLook.

        Raises:
            ValueError: at a wrong shape or type, or a camera that is missing.
        """
        whole, *given = [self.views(one) for one in (frames, *parts)]
        batch_and_time = whole[0].shape[:2]
        for view in chain(whole, *given):
            self.check_frames(view)
            if view.shape[:2] != batch_and_time:
                raise UserError("the cameras' frames differ in B or T")
        rows = [[view.to(self.visual_mean.device).flatten(0, 1) for view in views] for views in (whole, *given)]
        latents = self.encoder(rows[0], rows[1:])  # (B T, D)
        return ((latents - self.visual_mean) / self.visual_std).unflatten(0, batch_and_time)

    def views(self, frames: Frames) -> list[Tensor]:
        """The frames of each camera, in the order of the spec."""
        cameras = self.spec.cameras
        if isinstance(frames, Mapping):
            missing = [camera for camera in cameras if camera not in frames]
            if missing:
                raise UserError(f"frames lack the camera {missing[0]!r}, there are {', '.join(map(repr, frames))}")
            return [frames[camera] for camera in cameras]
        if len(cameras) > 1:
            raise UserError(f"frames are one tensor, the model takes a mapping with the cameras {', '.join(cameras)}")
        return [frames]

    def normalise_proprio(self, proprio: Tensor) -> Tensor:
        """Robot state (..., P) in its own units to the standardised one that latents hold."""
        return (proprio.to(self.proprio_mean) - self.proprio_mean) / self.proprio_std

    def normalise_actions(self, actions: Tensor) -> Tensor:
        """Blocks of actions (..., A) in the robot's units to what the predictor takes."""
        return (actions.to(self.action_mean) - self.action_mean) / self.action_std

    # ------------------------------------------------------------------ latents to later latents

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        self.check_rollout(context, actions, past_actions)
        window = self.window(context, past_actions)
        return self.predictor.rollout(*window, self.normalise_actions(actions))

    def rollout_last(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        self.check_rollout(context, actions, past_actions)
        window = self.window(context, past_actions)
        return self.predictor.rollout(*window, self.normalise_actions(actions), last_only=True)

    @property
    def reads_robot_steps(self) -> bool:
        return isinstance(self.predictor, HiddenStatePredictor)

    def rollout_at(
        self, context: Tensor, actions: Tensor, past_actions: Tensor | None, robot_steps: Sequence[int]
    ) -> Tensor:
        predictor = self.predictor
        if not isinstance(predictor, HiddenStatePredictor):
            raise UserError(f"only predictor='hidden_state' is read between model steps, got {self.config.predictor!r}")
        self.check_rollout(context, actions, past_actions)
        moved = predictor.robot_steps(self.normalise_actions(actions))
        return predictor.predict_at(*self.window(context, past_actions), moved, robot_steps)

    def window(self, context: Tensor, past_actions: Tensor | None) -> tuple[Tensor, Tensor]:
        """A whole window for the predictor: h latents and the h - 1 normalised actions between them.

        With a memory, the last latents of the context as they are believed.
        """
        if self.memory is not None:
            context, past_actions = self.remembered(context, past_actions)
        return self.filled(context, past_actions)

    def filled(self, context: Tensor, past_actions: Tensor | None) -> tuple[Tensor, Tensor]:
        """As window(), of latents as they are.

        A context (B, T, L) shorter than h stands for a robot that stood still before; a predictor that takes a context
        of any length is given it as it is.
        """
        batch, time = context.shape[:2]
        if self.predictor.takes_any_context:
            given = context.new_zeros(batch, 0, self.spec.block_dim) if past_actions is None else past_actions
            return context, self.normalise_actions(given)
        history = self.predictor.history
        missing = history - time
        past = self.still_action.to(context).expand(batch, history - 1, -1)
        if past_actions is not None and time > 1:
            past = torch.cat([past[:, :missing], past_actions.to(past)], 1)  # (B, h - 1, A)
        return torch.cat([context[:, :1].expand(-1, missing, -1), context], 1), self.normalise_actions(past)

    def remembered(self, context: Tensor, past_actions: Tensor | None) -> tuple[Tensor, Tensor]:
        """The newest latents (B, t, L) of a context as the memory believes them, and the actions between them."""
        assert self.memory is not None
        actions = context.new_zeros(len(context), 0, self.spec.block_dim) if past_actions is None else past_actions
        found = weights_of(self)
        weights = None if found is None else (*found, self.computes_in)
        latents = self.memory.recall(context, actions.to(context), self.predicts_next, weights)
        return latents, actions[:, actions.shape[1] + 1 - latents.shape[1] :]

    @property
    def predicts_next(self) -> PredictsNext:
        """The predictor as a memory asks it."""

        def predict(latents: Tensor, past: Tensor, action: Tensor) -> Tensor:
            moved = self.normalise_actions(action)[:, None, None]  # (B, 1, 1, A)
            return self.predictor.rollout(*self.filled(latents, past), moved)[:, 0, 0]

        return PredictsNext(predict, self.error_scale, self.predictor.history)

    def predict_windows(self, latents: Tensor, actions: Tensor, context: int | None = None) -> Tensor:
        """Open-loop predictions of the frames after the first `context` (the history, if left out).

        Args:
            latents: of shape (N, T, L).
            actions: between them, in the robot's units, of shape (N, T - 1, A).
            context: from 1 to the history; below it, the frames before are made up as rollout() does.

        Returns:
            Of shape (N, T - context, L), to be compared with latents[:, context:].
        """
        context = self.spec.history if context is None else context
        if actions.shape[:2] != (latents.shape[0], latents.shape[1] - 1) or latents.shape[1] <= context:
            raise UserError(
                f"latents and actions must have shapes (N, T, L) and (N, T - 1, A) with T above context, which is "
                f"{context}, got {tuple(latents.shape)} and {tuple(actions.shape)}"
            )
        future = actions[:, None, context - 1 :]  # (N, 1, T - context, A)
        return self.rollout(latents[:, :context], future, actions[:, : context - 1]).squeeze(1)


def make_camera_encoder(config: JEPAConfig, image_size: tuple[int, int]) -> nn.Module:
    """The encoder of one camera."""
    first = make_one_encoder(config, image_size, 0)
    if config.second_look is None:
        return first
    second = make_one_encoder(config, image_size, config.second_look)
    return SecondLook(first, second, config.latent_dim + config.robot_dim)


def make_one_encoder(config: JEPAConfig, image_size: tuple[int, int], more_blocks: int) -> nn.Module:
    """The first encoder of a camera, or the second, which has so many residual blocks more."""
    options = dict(config.encoder_options)
    if more_blocks:
        options["residual_blocks"] = options.get("residual_blocks", 0) + more_blocks
    scene = make_encoder(config.encoder, image_size, config.latent_dim, **options)
    if not config.robot_dim:
        return scene
    return TwoStreams(scene, image_size, config.robot_dim, robot_blocks(more_blocks))


def make_head(inputs: int, outputs: int, width: int) -> nn.Module | None:
    """A linear map, or an MLP of one hidden layer, or None if there is nothing to give."""
    if not outputs:
        return None
    if not width:
        return nn.Linear(inputs, outputs)
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, outputs))
