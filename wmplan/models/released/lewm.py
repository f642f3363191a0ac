"""LeWM: a small JEPA trained end to end from pixels, one vector a frame (stable-worldmodel's wm.lewm, le-wm; MIT).

Written from the description of the released layout. The latent of a frame is its projected cls embedding, (D,).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wmplan.models.base import Frames, ModelSpec
from wmplan.models.errors import CheckpointError
from wmplan.models.linear import Linear
from wmplan.models.released.architecture import MOST_NUMBERS, read_positive, read_size
from wmplan.models.released.frame_causal import FrameCausalModel, Memory
from wmplan.models.released.hf_vit import ViT, ViTConfig
from wmplan.models.released.images import IMAGENET_MEAN, IMAGENET_STD, resize, standardise, to_channels_first
from wmplan.models.released.lewm_rollout import FoldedPredictor
from wmplan.models.released.objectives import SummedSquaredError
from wmplan.models.released.projector import make_map, make_projector, read_projector
from wmplan.models.released.spec import fit_spec
from wmplan.models.released.transformer import Attention, FeedForward
from wmplan.models.released.transformers_names import old_names

FOLDED_WINDOW = 4
"""The longest window for which the folded predictor's few large operations a pair of frames are the faster ones."""


@dataclass(frozen=True)
class LeWMConfig:
    """Sizes of a LeWM: of its ViT, its two projectors, its action embedding and its predictor.

    width is D, of the embeddings; hidden is the predictor's own width and output that of what it gives to pred_proj,
    equal to D in all releases. A projector is its hidden width and the name of its norm, or None: stable-worldmodel's
    PLDM has the same form and may leave it out.
    """

    vit: ViTConfig
    width: int
    projector: tuple[int, str] | None
    pred_proj: tuple[int, str] | None
    action_input: int
    action_smoothed: int
    action_scale: int
    num_frames: int
    hidden: int
    output: int
    depth: int
    heads: int
    dim_head: int
    mlp_dim: int

    @classmethod
    def from_architecture(cls, architecture: Mapping[str, Any]) -> LeWMConfig:
        """From the field names of the fixtures' config.json.

        Raises:
            CheckpointError: naming the field that is missing or no size.
        """
        image_size = read_size(architecture, "image_size")
        names = ("hidden_size", "depth", "num_heads", "intermediate_size")
        vit = ViTConfig(
            image_size=image_size,
            patch_size=read_size(architecture, "patch_size"),
            layer_norm_eps=read_positive(architecture, "encoder.layer_norm_eps", 1e-12),
            **{name: read_size(architecture, f"encoder.{name}") for name in names},
        )
        width = read_size(architecture, "predictor.input_dim")
        output = read_size(architecture, "predictor.output_dim", width)
        pred_proj = read_projector(architecture, "pred_proj")
        if pred_proj is None and output != width:
            raise CheckpointError(f"without pred_proj, predictor.output_dim has to be the latent's width, {width}")
        return cls(
            vit=vit,
            width=width,
            projector=read_projector(architecture, "projector"),
            pred_proj=pred_proj,
            action_input=read_size(architecture, "action_encoder.input_dim", most=MOST_NUMBERS),
            action_smoothed=read_size(architecture, "action_encoder.smoothed_dim", 10),
            action_scale=read_size(architecture, "action_encoder.mlp_scale", 4),
            num_frames=read_size(architecture, "predictor.num_frames"),
            hidden=read_size(architecture, "predictor.hidden_dim", width),
            output=output,
            **{
                name: read_size(architecture, f"predictor.{name}") for name in ("depth", "heads", "dim_head", "mlp_dim")
            },
        )


class ActionEmbedder(nn.Module):
    """A per-step linear map (stored as a convolution of kernel 1), then linear, SiLU, linear."""

    def __init__(self, config: LeWMConfig) -> None:
        super().__init__()
        wide = config.action_scale * config.width
        self.patch_embed = nn.Conv1d(config.action_input, config.action_smoothed, 1)
        self.embed = nn.Sequential(Linear(config.action_smoothed, wide), nn.SiLU(), Linear(wide, config.width))

    def forward(self, actions: Tensor) -> Tensor:
        """Actions (n, f, A) to embeddings (n, f, D)."""
        smoothed = F.linear(actions, self.patch_embed.weight.squeeze(2), self.patch_embed.bias)
        out: Tensor = self.embed(smoothed)
        return out


class ConditionalBlock(nn.Module):
    """A transformer block whose shifts, scales and gates come from the action beside each frame (AdaLN-zero)."""

    def __init__(self, config: LeWMConfig) -> None:
        super().__init__()
        self.attn = Attention(config.hidden, config.heads, config.dim_head)
        self.mlp = FeedForward(config.hidden, config.mlp_dim)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), Linear(config.hidden, 6 * config.hidden))

    def forward(self, tokens: Tensor, modulation: Tensor, memory: Memory, layer: int, newest_only: bool) -> Tensor:
        """Tokens (n, f, hidden), one a frame, with modulation (n, f, 6 x hidden) made by adaLN_modulation."""
        shift, scale, gate, *_ = modulation.chunk(6, dim=-1)
        normed = F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6) * (1 + scale) + shift
        attended = self.attn(normed, memory, layer, newest_only)
        if newest_only:
            tokens, modulation = tokens[:, -1:], modulation[:, -1:]
        *_, gate, mlp_shift, mlp_scale, mlp_gate = modulation.chunk(6, dim=-1)
        tokens = tokens + gate * attended
        normed = F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6) * (1 + mlp_scale) + mlp_shift
        out: Tensor = tokens + mlp_gate * self.mlp(normed)
        return out


class Transformer(nn.Module):
    """The blocks and the final norm, with maps into and out of the predictor's own width where those differ."""

    def __init__(self, config: LeWMConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden)
        self.layers = nn.ModuleList(ConditionalBlock(config) for _ in range(config.depth))
        self.input_proj = make_map(config.width, config.hidden)
        self.cond_proj = make_map(config.width, config.hidden)
        self.output_proj = make_map(config.hidden, config.output)

    def modulate(self, embedded: Tensor) -> Tensor:
        """What every block makes of action embeddings (n, f, D), of shape (n, f, depth, 6 x hidden)."""
        condition = self.cond_proj(embedded)
        return torch.stack([cast(ConditionalBlock, layer).adaLN_modulation(condition) for layer in self.layers], dim=2)

    def forward(self, tokens: Tensor, modulation: Tensor, memory: Memory, newest_only: bool = True) -> Tensor:
        """Tokens (n, f, D) of f new frames to outputs (n, 1, output) of the newest, or (n, f, output) of all."""
        tokens = self.input_proj(tokens)
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            tokens = layer(tokens, modulation[:, :, i], memory, i, newest_only and i == last)
        out: Tensor = self.output_proj(self.norm(tokens))
        return out


class Predictor(nn.Module):
    """Learned positions, the oldest frame of the window first, and the transformer."""

    def __init__(self, config: LeWMConfig) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.zeros(1, config.num_frames, config.width))
        self.transformer = Transformer(config)

    def forward(
        self, latents: Tensor, modulation: Tensor, slot: int, memory: Memory, newest_only: bool = True
    ) -> Tensor:
        """Latents (n, f, D) that begin at `slot` of the window, to outputs as Transformer has them."""
        positions = self.pos_embedding[:, slot : slot + latents.shape[1]]
        out: Tensor = self.transformer(latents + positions, modulation, memory, newest_only)
        return out


class LeWM(FrameCausalModel):
    """LeWM as a world model: latents (D,), a window of num_frames frames.

    Args:
        config: sizes.
        spec: what surrounds the model; plain numbers of the right size when left out.

    Attributes:
        compiled: set it to have torch.compile make what rollouts without gradients consist of: about a fifth faster,
            after a minute for each new shape. Needs a C++ compiler.
    """

    kind, family = "lewm", "LeWM"
    frame_tokens = 1
    compiled = False
    max_batch_bytes = 2**27  # larger passes gain no more: a product reads all weights once a pass

    def __init__(self, config: LeWMConfig, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.config, self.window = config, config.num_frames
        self.encoder = ViT(config.vit)
        self.projector = make_projector(config.vit.hidden_size, config.projector, config.width)
        self.action_encoder = ActionEmbedder(config)
        self.predictor = Predictor(config)
        self.pred_proj = make_projector(config.output, config.pred_proj, config.width)
        self._folded: tuple[tuple[object, ...], FoldedPredictor] | None = None

    @classmethod
    def _sized(cls, architecture: Mapping[str, Any], spec: ModelSpec | None) -> LeWM:
        config = LeWMConfig.from_architecture(architecture)
        raw = read_size(architecture, "action_encoder.raw_action_dim", config.action_input, most=MOST_NUMBERS)
        spec = fit_spec(
            spec,
            image_size=config.vit.image_size,
            history=config.num_frames,
            action_dim=raw,
            action_block=config.action_input // raw,
            latent_shape=(config.width,),
        )
        return cls(config, spec)

    @staticmethod
    def renamed(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Encoder tensors under the names of transformers < 5."""
        return old_names(tensors)

    def preprocess(self, frames: Tensor) -> Tensor:
        """uint8 frames (..., H, W, 3) as the encoder takes them, (n, 3, size, size): ImageNet's mean and std."""
        images = to_channels_first(frames, self.dtype, self.device) / 255
        return resize(standardise(images, IMAGENET_MEAN, IMAGENET_STD), self.config.vit.image_size, antialias=True)

    def encode(self, frames: Frames, proprio: Tensor | None = None) -> Tensor:
        """Latents (B, T, D) of frames: see WorldModel.encode. LeWM has no proprioception."""
        frames = self.pick_camera(frames)
        self.check_frames(frames)
        embedded = self.projector(self.encoder(self.preprocess(frames))[:, 0])
        out: Tensor = embedded.unflatten(0, frames.shape[:2]).to(self.latent_dtype)
        return out

    def native_objective(self) -> SummedSquaredError:
        """Summed squared error of the final embedding."""
        return SummedSquaredError()

    def condition(self, actions: Tensor) -> Tensor:
        """The shifts, scales and gates of every layer for actions (n, f, A), of shape (n, f, depth, 6 x hidden)."""
        return self.predictor.transformer.modulate(self.action_encoder(actions.to(self.dtype)))

    def advance(self, latents: Tensor, conditions: Tensor, slot: int, memory: Memory) -> Tensor:
        """The next embedding (n, D): see FrameCausalModel.advance."""
        predicted = self.predictor(latents.to(self.dtype), conditions, slot, memory)[:, 0]
        out: Tensor = self.pred_proj(predicted).to(self.latent_dtype)
        return out

    def _predict(self, context: Tensor, actions: Tensor, past_actions: Tensor | None, last_only: bool) -> Tensor:
        """With the folded weights, unless a gradient is asked for, or batch norms learn."""
        if torch.is_grad_enabled() or self.training or self.window > FOLDED_WINDOW:
            return super()._predict(context, actions, past_actions, last_only)
        size = self._chunk(context.shape[1], actions.shape[2])
        samples, folded = actions.shape[1], self.folded()
        together = max(1, size // samples)  # environments in one pass, where their candidates are few
        parts = [
            folded.rollout(
                context[i : i + together],
                actions[i : i + together],
                None if past_actions is None else past_actions[i : i + together],
                size,
                last_only,
            )
            for i in range(0, len(context), together)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def folded(self) -> FoldedPredictor:
        """The predictor with its weights folded, made anew when they have changed."""
        parts = self.predictor.transformer.layers, self.pred_proj
        weights = [one for part in parts for one in (*part.parameters(), *part.buffers())]
        if any(one.is_inference() for one in weights):  # they do not tell when they change
            return FoldedPredictor(self, self.compiled)
        state: tuple[object, ...] = (
            self.compiled,
            *((id(one), one.data_ptr(), one._version, one.dtype) for one in weights),
        )
        if self._folded is None or self._folded[0] != state:
            with torch.inference_mode(False), torch.no_grad():
                self._folded = state, FoldedPredictor(self, self.compiled)
        return self._folded[1]

    def candidate_bytes(self, frames: int, kept: int) -> int:
        """See FrameCausalModel.candidate_bytes."""
        c = self.config
        inner = c.heads * c.dim_head
        modulation = self.window * c.depth * 6 * c.hidden
        pass_ = frames * (c.mlp_dim + 4 * inner + 4 * c.hidden)
        return self.dtype.itemsize * (modulation + pass_ + kept * c.depth * 2 * inner)
