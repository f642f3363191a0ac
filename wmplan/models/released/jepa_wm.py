"""JEPA-WM: an AdaLN predictor with rotary positions over frozen DINO patches (jepa-wms; its weights are CC-BY-NC-4.0).

Our own code, written from a description of the layout. Latents: see patch_latents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from wmplan.models.base import ModelSpec
from wmplan.models.errors import CheckpointError
from wmplan.models.linear import Linear
from wmplan.models.released.architecture import MOST_NUMBERS, read_size
from wmplan.models.released.frame_causal import KVCache
from wmplan.models.released.images import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    centre_square,
    resize,
    standardise,
    to_channels_first,
)
from wmplan.models.released.objectives import PatchAndProprio
from wmplan.models.released.patch_latents import PatchLatentModel
from wmplan.models.released.rope_transformer import Perceptron, RopeAttention
from wmplan.models.released.spec import fit_spec
from wmplan.models.rope import Rotation, grid_positions


@dataclass(frozen=True)
class JepaWMConfig:
    """Sizes of a JEPA-WM.

    Attributes:
        window: frames that the predictor sees in planning (ctxt_window); 2 in all releases.
        width: of the predictor's visual channels; the embedded proprioception stands behind them.
    """

    image_size: int
    rows: int
    columns: int
    visual_dim: int
    raw_action_dim: int
    action_dim: int
    proprio_dim: int
    proprio_emb_dim: int
    window: int
    width: int
    depth: int
    heads: int
    hidden: int

    def __post_init__(self) -> None:
        if self.total % self.heads:
            raise CheckpointError(f"the predictor's width {self.total} is no multiple of its {self.heads} heads")

    @property
    def total(self) -> int:
        """Channels of a token in the predictor."""
        return self.width + self.proprio_emb_dim

    @classmethod
    def from_architecture(cls, architecture: Mapping[str, Any]) -> JepaWMConfig:
        """From the field names of the fixtures' config.json; `ctxt_window` is 2 when left out.

        Raises:
            CheckpointError: naming the field that is missing, no size, or of a kind that no release has.
        """
        for one in ("num_views", "tubelet_size", "action_skip"):
            if read_size(architecture, one, 1) != 1:
                raise CheckpointError(f"the architecture's field {one!r} must be 1, as in all releases")
        action_dim = read_size(architecture, "action_dim", most=MOST_NUMBERS)
        width = read_size(architecture, "predictor.pred_embed_dim")
        proprio_emb_dim = read_size(architecture, "proprio_emb_dim", 0, least=0)
        return cls(
            image_size=read_size(architecture, "img_size"),
            rows=read_size(architecture, "grid_height"),
            columns=read_size(architecture, "grid_width"),
            visual_dim=read_size(architecture, "enc_dim"),
            raw_action_dim=read_size(architecture, "raw_action_dim", action_dim, most=MOST_NUMBERS),
            action_dim=action_dim,
            proprio_dim=read_size(architecture, "proprio_dim", 0, least=0, most=MOST_NUMBERS),
            proprio_emb_dim=proprio_emb_dim,
            window=read_size(architecture, "ctxt_window", 2),
            width=width,
            depth=read_size(architecture, "predictor.depth"),
            heads=read_size(architecture, "predictor.num_heads"),
            hidden=read_size(architecture, "predictor.mlp_hidden_dim", 4 * (width + proprio_emb_dim)),
        )


class Block(nn.Module):
    """A block whose shifts, scales and gates come from the frame's action, shared by all its patches (AdaLN)."""

    def __init__(self, config: JepaWMConfig) -> None:
        super().__init__()
        total = config.total
        self.norm1 = nn.LayerNorm(total, eps=1e-6)
        self.attn = RopeAttention(total, config.heads)
        self.norm2 = nn.LayerNorm(total, eps=1e-6)
        self.mlp = Perceptron(total, config.hidden)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), Linear(total, 6 * total))

    def forward(
        self, tokens: Tensor, modulation: Tensor, rotation: Rotation, memory: KVCache, layer: int, newest_only: bool
    ) -> Tensor:
        """Tokens (n, f, M, total) with modulation (n, f, 6 x total) to tokens of the same shape, or with f = 1."""
        shift, scale, *_ = modulation.unsqueeze(2).chunk(6, dim=-1)  # each (n, f, 1, total)
        normed = (self.norm1(tokens) * (1 + scale) + shift).flatten(1, 2)
        attended = self.attn(normed, rotation, memory, layer, newest_only)
        if newest_only:
            tokens, modulation = tokens[:, -1:], modulation[:, -1:]
        _, _, gate, mlp_shift, mlp_scale, mlp_gate = modulation.unsqueeze(2).chunk(6, dim=-1)
        tokens = tokens + gate * attended.unflatten(1, tokens.shape[1:3])
        out: Tensor = tokens + mlp_gate * self.mlp(self.norm2(tokens) * (1 + mlp_scale) + mlp_shift)
        return out


class Predictor(nn.Module):
    """Visual channels into the predictor's width, AdaLN blocks, final norm, visual channels back."""

    def __init__(self, config: JepaWMConfig) -> None:
        super().__init__()
        self.config = config
        self.predictor_embed = Linear(config.visual_dim, config.width)
        self.action_encoder = Linear(config.action_dim, config.total)
        self.predictor_blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.predictor_norm = nn.LayerNorm(config.total, eps=1e-6)
        self.predictor_proj = Linear(config.width, config.visual_dim)

    def modulate(self, actions: Tensor) -> Tensor:
        """What every block makes of normalised actions (n, f, A), of shape (n, f, depth, 6 x total)."""
        condition = self.action_encoder(actions)
        return torch.stack([cast(Block, block).adaLN_modulation(condition) for block in self.predictor_blocks], dim=2)

    def forward(
        self, latents: Tensor, modulation: Tensor, slot: int, memory: KVCache, newest_only: bool = True
    ) -> Tensor:
        """Latents (n, f, P, D + E) that begin at `slot` to the newest frame's next (n, 1, P, D + E), or to all f."""
        c = self.config
        positions = grid_positions(range(slot, slot + latents.shape[1]), c.rows, c.columns).to(latents.device)
        rotation = Rotation(positions, c.total // c.heads)
        visual, proprio = latents.split([c.visual_dim, c.proprio_emb_dim], dim=-1)
        tokens = torch.cat([self.predictor_embed(visual), proprio], dim=-1)
        for i, block in enumerate(self.predictor_blocks):
            newest = newest_only and i == c.depth - 1
            tokens = block(tokens, modulation[:, :, i], rotation, memory, i, newest)
        visual, proprio = self.predictor_norm(tokens).split([c.width, c.proprio_emb_dim], dim=-1)
        return torch.cat([self.predictor_proj(visual), proprio], dim=-1)


class JepaWM(PatchLatentModel):
    """JEPA-WM as a world model: latents (P, D + E), a window of ctxt_window frames."""

    kind, family = "jepa_wm", "JEPA-WM"

    def __init__(self, config: JepaWMConfig, spec: ModelSpec) -> None:
        super().__init__(spec, config.rows * config.columns, config.visual_dim, config.proprio_emb_dim)
        self.config, self.window = config, config.window
        self.predictor = Predictor(config)

    @classmethod
    def _sized(cls, architecture: Mapping[str, Any], spec: ModelSpec | None) -> JepaWM:
        config = JepaWMConfig.from_architecture(architecture)
        spec = fit_spec(
            spec,
            image_size=config.image_size,
            history=config.window,
            action_dim=config.raw_action_dim,
            action_block=config.action_dim // config.raw_action_dim,
            latent_shape=(config.rows * config.columns, config.visual_dim + config.proprio_emb_dim),
            proprio_dim=config.proprio_dim if config.proprio_emb_dim else 0,
        )
        return cls(config, spec)

    def preprocess(self, frames: Tensor) -> Tensor:
        """Centre square, bilinear resize without antialiasing, ImageNet's mean and std."""
        images = centre_square(to_channels_first(frames, self.dtype, self.device) / 255)
        return standardise(resize(images, self.config.image_size, antialias=False), IMAGENET_MEAN, IMAGENET_STD)

    def native_objective(self, alpha: float = 0.1) -> PatchAndProprio:
        """Mean squared error of the patches plus alpha times that of their embedded proprioception, final frame."""
        return PatchAndProprio(self.visual_dim, alpha, "all")

    def condition(self, actions: Tensor) -> Tensor:
        """The shifts, scales and gates of every block for actions (n, f, A), of shape (n, f, depth, 6 x total)."""
        return self.predictor.modulate(actions.to(self.dtype))

    def advance(self, latents: Tensor, conditions: Tensor, slot: int, memory: KVCache) -> Tensor:
        """The next latent (n, P, D + E): see FrameCausalModel.advance."""
        return self.predictor(latents.to(self.dtype), conditions, slot, memory)[:, 0].to(self.latent_dtype)

    def candidate_bytes(self, frames: int, kept: int) -> int:
        """See FrameCausalModel.candidate_bytes."""
        c = self.config
        pass_ = frames * (c.hidden + 10 * c.total) + self.window * 2 * c.total
        return self.dtype.itemsize * self.patches * (pass_ + kept * c.depth * 2 * c.total)
