"""DINO-WM: a ViT predictor over frozen DINOv2 patches (dino_wm, MIT; also the dino_wm_*.pth.tar of jepa-wms).

Written from the description of the released layout. Latents: see patch_latents.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from wmplan.models.base import ModelSpec
from wmplan.models.errors import CheckpointError
from wmplan.models.released.architecture import MOST_NUMBERS, read_size
from wmplan.models.released.frame_causal import KVCache
from wmplan.models.released.images import centre_square, resize, standardise, to_channels_first
from wmplan.models.released.objectives import PatchAndProprio
from wmplan.models.released.patch_latents import PatchLatentModel, StepEmbedding
from wmplan.models.released.spec import fit_spec
from wmplan.models.released.transformer import Attention, FeedForward

MASK = re.compile(r"\.layers\.\d+\.0\.bias$")


@dataclass(frozen=True)
class DinoWMConfig:
    """Sizes of a DINO-WM.

    Attributes:
        slots: frames that have position vectors; `window` of them are used (jepa-wms trains with 4 and plans with 2).
        image_size, encoder_size: pixels of the square crop, and of the image that DINOv2 sees (released: 224, 196).
    """

    visual_dim: int
    patches: int
    slots: int
    window: int
    raw_action_dim: int
    action_dim: int
    action_emb_dim: int
    proprio_dim: int
    proprio_emb_dim: int
    depth: int
    heads: int
    dim_head: int
    mlp_dim: int
    image_size: int = 224
    encoder_size: int = 196

    def __post_init__(self) -> None:
        if self.window > self.slots:
            raise CheckpointError(f"the window is {self.window} frames, there are positions for {self.slots}")

    @property
    def width(self) -> int:
        """Channels of a token: visual, embedded proprioception, embedded action."""
        return self.visual_dim + self.proprio_emb_dim + self.action_emb_dim

    @classmethod
    def from_architecture(cls, architecture: Mapping[str, Any]) -> DinoWMConfig:
        """From the field names of the fixtures' config.json; `ctxt_window`, when given, is the window.

        Raises:
            CheckpointError: naming the field that is missing, no size, or of a kind that no release has.
        """
        for repeat in ("num_proprio_repeat", "num_action_repeat"):
            if read_size(architecture, repeat, 1) != 1:
                raise CheckpointError(f"the architecture's field {repeat!r} must be 1, as in all releases")
        if read_size(architecture, "concat_dim", 1) != 1:
            raise CheckpointError("the architecture's field 'concat_dim' must be 1, as in all releases")
        slots = read_size(architecture, "num_hist")
        action_dim = read_size(architecture, "action_dim", most=MOST_NUMBERS)
        names = ("depth", "heads", "dim_head", "mlp_dim")
        return cls(
            visual_dim=read_size(architecture, "enc_dim"),
            patches=read_size(architecture, "num_patches"),
            slots=slots,
            window=read_size(architecture, "ctxt_window", slots),
            raw_action_dim=read_size(architecture, "raw_action_dim", action_dim, most=MOST_NUMBERS),
            action_dim=action_dim,
            action_emb_dim=read_size(architecture, "action_emb_dim"),
            proprio_dim=read_size(architecture, "proprio_dim", 0, least=0, most=MOST_NUMBERS),
            proprio_emb_dim=read_size(architecture, "proprio_emb_dim", 0, least=0),
            image_size=read_size(architecture, "image_size", 224),
            encoder_size=read_size(architecture, "encoder_image_size", 196),
            **{name: read_size(architecture, f"predictor.{name}") for name in names},
        )


class Transformer(nn.Module):
    """Blocks x = attn(x) + x; x = mlp(x) + x, the norms inside, and a final norm."""

    def __init__(self, config: DinoWMConfig) -> None:
        super().__init__()
        width = config.width
        self.layers = nn.ModuleList(
            nn.ModuleList([Attention(width, config.heads, config.dim_head), FeedForward(width, config.mlp_dim)])
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, memory: KVCache, newest_only: bool) -> Tensor:
        for i, layer in enumerate(self.layers):
            attention, feed_forward = cast(nn.ModuleList, layer)
            newest = newest_only and i == len(self.layers) - 1
            attended = attention(tokens, memory, i, newest)
            tokens = (tokens[:, -memory.tokens :] if newest else tokens) + attended
            tokens = feed_forward(tokens) + tokens
        out: Tensor = self.norm(tokens)
        return out


class Predictor(nn.Module):
    """A learned position vector for each frame slot and patch, and the transformer."""

    def __init__(self, config: DinoWMConfig) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.zeros(1, config.slots * config.patches, config.width))
        self.transformer = Transformer(config)

    def forward(self, tokens: Tensor, slot: int, memory: KVCache, newest_only: bool = True) -> Tensor:
        """Tokens (n, f, P, width) that begin at `slot` to outputs (n, 1, P, width) of the newest frame, or of all f."""
        patches = tokens.shape[2]
        positions = self.pos_embedding[:, slot * patches : (slot + tokens.shape[1]) * patches]
        out: Tensor = self.transformer(tokens.flatten(1, 2) + positions, memory, newest_only)
        return out.unflatten(1, (-1, patches))


class DinoWM(PatchLatentModel):
    """DINO-WM as a world model: latents (P, D + E), the action's embedding joined to every patch inside."""

    kind, family = "dino_wm", "DINO-WM"

    def __init__(self, config: DinoWMConfig, spec: ModelSpec) -> None:
        super().__init__(spec, config.patches, config.visual_dim, config.proprio_emb_dim)
        self.config, self.window = config, config.window
        self.action_encoder = StepEmbedding(config.action_dim, config.action_emb_dim)
        self.predictor = Predictor(config)

    @classmethod
    def _sized(cls, architecture: Mapping[str, Any], spec: ModelSpec | None) -> DinoWM:
        config = DinoWMConfig.from_architecture(architecture)
        spec = fit_spec(
            spec,
            image_size=config.image_size,
            history=config.window,
            action_dim=config.raw_action_dim,
            action_block=config.action_dim // config.raw_action_dim,
            latent_shape=(config.patches, config.visual_dim + config.proprio_emb_dim),
            proprio_dim=config.proprio_dim if config.proprio_emb_dim else 0,
        )
        return cls(config, spec)

    @staticmethod
    def ignored(name: str) -> bool:
        """Mask buffers, which the copies in jepa-wms hold; they are made anew."""
        return MASK.search(name) is not None

    def preprocess(self, frames: Tensor) -> Tensor:
        """Centre square at image_size, values from -1 to 1, then the encoder's size; antialiased throughout."""
        images = to_channels_first(frames, self.dtype, self.device) / 255
        images = resize(centre_square(images), self.config.image_size, antialias=True)
        return resize(standardise(images, (0.5,) * 3, (0.5,) * 3), self.config.encoder_size, antialias=True)

    def native_objective(self, alpha: float = 1.0) -> PatchAndProprio:
        """Mean squared error of the patches plus alpha times that of patch 0's embedded proprioception, final frame."""
        return PatchAndProprio(self.visual_dim, alpha, "first")

    def condition(self, actions: Tensor) -> Tensor:
        """Embeddings (n, f, action_emb_dim) of normalised actions (n, f, A)."""
        out: Tensor = self.action_encoder(actions.to(self.dtype))
        return out

    def join(self, latents: Tensor, conditions: Tensor) -> Tensor:
        """The predictor's tokens (n, f, P, width): latents (n, f, P, D + E), the action's embedding in every patch."""
        tiled = conditions.unsqueeze(2).expand(-1, -1, latents.shape[2], -1)
        return torch.cat([latents.to(self.dtype), tiled], dim=-1)

    def advance(self, latents: Tensor, conditions: Tensor, slot: int, memory: KVCache) -> Tensor:
        """The next latent (n, P, D + E): see FrameCausalModel.advance. The predicted action channels are dropped."""
        out = self.predictor(self.join(latents, conditions), slot, memory)[:, 0]
        return out[..., : self.visual_dim + self.proprio_emb_dim].to(self.latent_dtype)

    def candidate_bytes(self, frames: int, kept: int) -> int:
        """See FrameCausalModel.candidate_bytes."""
        c = self.config
        inner = c.heads * c.dim_head
        pass_ = frames * (c.mlp_dim + 4 * inner + 6 * c.width) + self.window * 2 * inner
        return self.dtype.itemsize * c.patches * (pass_ + kept * c.depth * 2 * inner)
