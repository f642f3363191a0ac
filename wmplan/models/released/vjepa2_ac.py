"""V-JEPA 2-AC: a frozen video encoder and a frame-causal predictor over its tokens, action and pose (vjepa2, MIT).

Written from the description of the released layout. The latent of a frame is flat, (N x D + 7,): the layer-normalised
tokens, patch by patch (row-major), and then the end effector's pose in its own units, which the model integrates
itself. A goal that is no more than an image has an unknown pose (NaN), which the cost does not look at; a context
needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wmplan.errors import UserError
from wmplan.models.base import Frames, ModelSpec
from wmplan.models.errors import CheckpointError
from wmplan.models.linear import Linear
from wmplan.models.released.architecture import read_size
from wmplan.models.released.frame_causal import FrameCausalModel, KVCache
from wmplan.models.released.images import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    centre_square,
    resize,
    standardise,
    to_channels_first,
)
from wmplan.models.released.l1_ball import L1Ball
from wmplan.models.released.objectives import TokenMeanAbsoluteError
from wmplan.models.released.pose import POSE_DIM, integrate
from wmplan.models.released.rope_transformer import RopeBlock
from wmplan.models.released.spec import fit_spec
from wmplan.models.rope import Rotation, grid_positions

CONDITIONS = 2  # tokens before a frame's patches: the action's, and the pose's before the action
MOST_STEP_M, POSITION = 0.075, (0, 1, 2)
"""What a robot step may move the hand, in the sum over its axes, and where these stand in an action."""


@dataclass(frozen=True)
class VJepa2ACConfig:
    """Sizes of a V-JEPA 2-AC.

    Attributes:
        tubelet: images that one step of the encoder's clip takes; a single frame is repeated that often.
        window: the most frames that the predictor was made for (num_frames / tubelet_size).
    """

    image_size: int
    patch_size: int
    tubelet: int
    window: int
    encoder_width: int
    encoder_depth: int
    encoder_heads: int
    encoder_hidden: int
    width: int
    depth: int
    heads: int
    hidden: int
    extrinsics_dim: int

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            raise CheckpointError(f"img_size {self.image_size} is no multiple of patch_size {self.patch_size}")
        for name, width, heads in (
            ("encoder", self.encoder_width, self.encoder_heads),
            ("predictor", self.width, self.heads),
        ):
            if width % heads:
                raise CheckpointError(f"the {name}'s width {width} is no multiple of its {heads} heads")

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size

    @property
    def patches(self) -> int:
        """N, the patches of a frame."""
        return self.grid**2

    @classmethod
    def from_architecture(cls, architecture: Mapping[str, Any]) -> VJepa2ACConfig:
        """From the field names of the fixtures' config.json.

        Raises:
            CheckpointError: naming the field that is missing or no size.
        """
        for name in ("predictor.action_dim", "predictor.state_dim"):
            if read_size(architecture, name, POSE_DIM) != POSE_DIM:
                raise CheckpointError(f"the architecture's field {name!r} must be {POSE_DIM}, a pose of 7 numbers")
        tubelet = read_size(architecture, "tubelet_size", 2)
        frames = read_size(architecture, "num_frames")
        encoder_width = read_size(architecture, "encoder.embed_dim")
        width = read_size(architecture, "predictor.predictor_embed_dim")
        return cls(
            image_size=read_size(architecture, "img_size"),
            patch_size=read_size(architecture, "patch_size"),
            tubelet=tubelet,
            window=read_size(architecture, "predictor.max_timesteps", frames // tubelet),
            encoder_width=encoder_width,
            encoder_depth=read_size(architecture, "encoder.depth"),
            encoder_heads=read_size(architecture, "encoder.num_heads"),
            encoder_hidden=read_size(architecture, "encoder.mlp_hidden_dim", 4 * encoder_width),
            width=width,
            depth=read_size(architecture, "predictor.depth"),
            heads=read_size(architecture, "predictor.num_heads"),
            hidden=read_size(architecture, "predictor.mlp_hidden_dim", 4 * width),
            extrinsics_dim=read_size(architecture, "predictor.extrinsics_dim", 6),
        )


class VideoEncoder(nn.Module):
    """Clips of images to one token a patch and tubelet, full attention, no positions but rotary ones."""

    def __init__(self, config: VJepa2ACConfig) -> None:
        super().__init__()
        self.config = config
        kernel = (config.tubelet, config.patch_size, config.patch_size)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv3d(3, config.encoder_width, kernel, kernel)})
        self.blocks = nn.ModuleList(
            RopeBlock(config.encoder_width, config.encoder_heads, config.encoder_hidden)
            for _ in range(config.encoder_depth)
        )
        self.norm = nn.LayerNorm(config.encoder_width, eps=1e-6)

    def forward(self, clips: Tensor) -> Tensor:
        """Clips (n, images, 3, H, W) to tokens (n, images / tubelet x N, D), ordered time, row, column."""
        c = self.config
        tokens = self.patch_embed["proj"](clips.transpose(1, 2)).flatten(2).transpose(1, 2)
        positions = grid_positions(range(clips.shape[1] // c.tubelet), c.grid, c.grid).to(tokens.device)
        rotation = Rotation(positions, c.encoder_width // c.encoder_heads)
        for block in self.blocks:
            tokens = block(tokens, rotation)
        out: Tensor = self.norm(tokens)
        return out


class Predictor(nn.Module):
    """Per frame the tokens [action, pose, N patches]; a token sees all tokens of its own frame and of those before."""

    def __init__(self, config: VJepa2ACConfig) -> None:
        super().__init__()
        self.config = config
        self.predictor_embed = Linear(config.encoder_width, config.width)
        self.action_encoder = Linear(POSE_DIM, config.width)
        self.state_encoder = Linear(POSE_DIM, config.width)
        self.extrinsics_encoder = Linear(config.extrinsics_dim, config.width)  # in the release, never used
        self.predictor_blocks = nn.ModuleList(
            RopeBlock(config.width, config.heads, config.hidden) for _ in range(config.depth)
        )
        self.predictor_norm = nn.LayerNorm(config.width, eps=1e-6)
        self.predictor_proj = Linear(config.width, config.encoder_width)

    def forward(
        self, tokens: Tensor, poses: Tensor, actions: Tensor, slot: int, memory: KVCache, newest_only: bool = True
    ) -> Tensor:
        """What follows each frame, not yet layer-normalised.

        Args:
            tokens: of f new frames, of shape (n, f, N, D).
            poses: before the actions, of shape (n, f, 7).
            actions: of shape (n, f, 7).
            slot: index of the first of the frames.
            memory: the frames before.

        Returns:
            Of shape (n, 1, N, D) for the newest frame alone, or (n, f, N, D).
        """
        c = self.config
        last = c.depth - 1
        conditions = torch.stack([self.action_encoder(actions), self.state_encoder(poses)], dim=2)
        x = torch.cat([conditions, self.predictor_embed(tokens)], dim=2).flatten(1, 2)  # (n, f x M, width)
        positions = grid_positions(range(slot, slot + tokens.shape[1]), c.grid, c.grid, CONDITIONS).to(x.device)
        rotation = Rotation(positions, c.width // c.heads)
        for i, block in enumerate(self.predictor_blocks):
            x = block(x, rotation, memory, i, newest_only and i == last)
        x = x.unflatten(1, (-1, c.patches + CONDITIONS))[:, :, CONDITIONS:]
        out: Tensor = self.predictor_proj(self.predictor_norm(x))
        return out


class VJepa2AC(FrameCausalModel):
    """V-JEPA 2-AC as a world model: flat latents (N x D + 7,), the whole past as its window."""

    kind, family = "vjepa2_ac", "V-JEPA 2-AC"

    def __init__(self, config: VJepa2ACConfig, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.config, self.window = config, config.window
        self.frame_tokens = config.patches + CONDITIONS
        self.token_numbers = config.patches * config.encoder_width
        self.encoder = VideoEncoder(config)
        self.predictor = Predictor(config)

    @classmethod
    def _sized(cls, architecture: Mapping[str, Any], spec: ModelSpec | None) -> VJepa2AC:
        config = VJepa2ACConfig.from_architecture(architecture)
        spec = fit_spec(
            spec,
            image_size=config.image_size,
            history=config.window,
            action_dim=POSE_DIM,
            action_block=1,
            latent_shape=(config.patches * config.encoder_width + POSE_DIM,),
            proprio_dim=POSE_DIM,
        )
        if (spec.proprio_mean, spec.proprio_std) != ((0.0,) * POSE_DIM, (1.0,) * POSE_DIM):
            raise CheckpointError("V-JEPA 2-AC takes poses as they are: proprio_mean must be 0 and proprio_std 1")
        return cls(config, spec)

    @staticmethod
    def ignored(name: str) -> bool:
        """What a raw encoder holds beside the modules of this one, such as absolute positions."""
        return name.startswith("encoder.") and name.split(".")[1] not in ("patch_embed", "blocks", "norm")

    def preprocess(self, frames: Tensor) -> Tensor:
        """Centre square, bilinear resize without antialiasing on 0..255, ImageNet's mean and std."""
        images = resize(
            centre_square(to_channels_first(frames, self.dtype, self.device)), self.config.image_size, False
        )
        mean, std = (tuple(255 * x for x in values) for values in (IMAGENET_MEAN, IMAGENET_STD))
        return standardise(images, mean, std)

    def encode(self, frames: Frames, proprio: Tensor | None = None) -> Tensor:
        """Latents (B, T, N x D + 7) of frames beside poses (B, T, 7): see WorldModel.encode.

        Each frame is encoded alone, repeated into a clip of one tubelet.
        """
        frames = self.pick_camera(frames)
        self.check_frames(frames)
        images = self.preprocess(frames)
        clips = images.unsqueeze(1).expand(-1, self.config.tubelet, -1, -1, -1)
        encoded = torch.cat([self.encoder(part) for part in clips.split(16)])
        return self.encode_tokens(self.normalise_tokens(encoded).unflatten(0, frames.shape[:2]), proprio)

    def normalise_tokens(self, tokens: Tensor) -> Tensor:
        """Tokens (..., D) after a layer norm without parameters, in the type of latents."""
        return F.layer_norm(tokens.to(self.latent_dtype), tokens.shape[-1:])

    def encode_tokens(self, tokens: Tensor, proprio: Tensor | None = None) -> Tensor:
        """Latents (B, T, N x D + 7) of layer-normalised tokens (B, T, N, D) beside poses (B, T, 7)."""
        batch, time = tokens.shape[:2]
        if proprio is None:
            proprio = tokens.new_full((batch, time, POSE_DIM), torch.nan)
        else:
            self.check_proprio(proprio, batch, time)
        return torch.cat([tokens.flatten(2).to(self.latent_dtype), proprio.to(self.device, self.latent_dtype)], dim=-1)

    def split(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (..., N x D + 7) as tokens (..., N, D) and poses (..., 7)."""
        tokens, poses = latents.split([self.token_numbers, POSE_DIM], dim=-1)
        return tokens.unflatten(-1, (self.config.patches, self.config.encoder_width)), poses

    @property
    def most_frames(self) -> int:
        return self.window + 1

    def check_rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None) -> None:
        """As WorldModel.check_rollout; context and horizon together keep to the frames the predictor was made for."""
        super().check_rollout(context, actions, past_actions)
        frames = context.shape[1] + actions.shape[2] - 1
        if frames > self.window:
            raise UserError(f"context and horizon make {frames} frames, the predictor takes {self.window} at most")

    @property
    def projections(self) -> tuple[L1Ball, ...]:
        """Every step of the hand stays in the L1 ball of 7.5 cm that V-JEPA 2-AC's own planner keeps to."""
        return (L1Ball(MOST_STEP_M, POSITION),)

    def native_objective(self) -> TokenMeanAbsoluteError:
        """Mean absolute error of the final frame's tokens."""
        return TokenMeanAbsoluteError(self.token_numbers)

    def condition(self, actions: Tensor) -> Tensor:
        """The actions themselves, (n, f, 7): they also move the pose."""
        return actions

    def advance(self, latents: Tensor, conditions: Tensor, slot: int, memory: KVCache) -> Tensor:
        """The next latent (n, N x D + 7): see FrameCausalModel.advance. The pose is integrated, not predicted."""
        tokens, poses = self.split(latents)
        inputs = (x.to(self.dtype) for x in (tokens, poses, conditions))
        predicted = self.normalise_tokens(self.predictor(*inputs, slot, memory)[:, 0])
        return torch.cat([predicted.flatten(1), integrate(poses[:, -1], conditions[:, -1])], dim=-1)

    def candidate_bytes(self, frames: int, kept: int) -> int:
        """See FrameCausalModel.candidate_bytes."""
        c = self.config
        seen = 2 * c.width * self.window  # keys and values of a layer, put together
        pass_ = frames * (2 * c.hidden + 8 * c.width + 3 * c.encoder_width) + min(seen, 4 * c.hidden)
        return self.dtype.itemsize * self.frame_tokens * (pass_ + kept * c.depth * 2 * c.width)
