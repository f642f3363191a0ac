"""LeWM: a small JEPA trained end to end from pixels, one vector a frame (stable-worldmodel's wm.lewm, le-wm; MIT).

Written from the description of the released layout. The latent of a frame is its projected cls embedding, (D,).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from wmplan.models.base import Frames, ModelSpec
from wmplan.models.released.architecture import MOST_NUMBERS, read_size
from wmplan.models.released.frame_causal import FrameCausalModel, KVCache
from wmplan.models.released.hf_vit import ViT
from wmplan.models.released.images import IMAGENET_MEAN, IMAGENET_STD, resize, standardise, to_channels_first
from wmplan.models.released.lewm_predictor import ActionEmbedder, LeWMConfig, Predictor
from wmplan.models.released.lewm_rollout import FoldedPredictor
from wmplan.models.released.objectives import SummedSquaredError
from wmplan.models.released.projector import make_projector
from wmplan.models.released.spec import fit_spec
from wmplan.models.released.transformers_names import old_names

FOLDED_WINDOW = 4
"""The longest window for which the folded predictor's few large operations a pair of frames are the faster ones."""


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

    def advance(self, latents: Tensor, conditions: Tensor, slot: int, memory: KVCache) -> Tensor:
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
                self._window_starts(context.shape[1], actions.shape[2]),
            )
            for i in range(0, len(context), together)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def folded(self) -> FoldedPredictor:
        """The predictor with its weights folded, made anew when they have changed."""
        parts = self.predictor.transformer.layers, self.pred_proj
        weights = [one for part in parts for one in (*part.parameters(), *part.buffers())]
        if any(one.is_inference() for one in weights):  # they do not tell when they change
            return self._fold()
        state: tuple[object, ...] = (
            self.compiled,
            *((id(one), one.data_ptr(), one._version, one.dtype) for one in weights),
        )
        if self._folded is None or self._folded[0] != state:
            with torch.inference_mode(False), torch.no_grad():
                self._folded = state, self._fold()
        return self._folded[1]

    def _fold(self) -> FoldedPredictor:
        return FoldedPredictor(
            self.predictor, self.action_encoder, self.pred_proj, self.window, self.dtype, self.compiled
        )

    def candidate_bytes(self, frames: int, kept: int) -> int:
        """See FrameCausalModel.candidate_bytes."""
        c = self.config
        inner = c.heads * c.dim_head
        modulation = self.window * c.depth * 6 * c.hidden
        pass_ = frames * (c.mlp_dim + 4 * inner + 4 * c.hidden)
        return self.dtype.itemsize * (modulation + pass_ + kept * c.depth * 2 * inner)
