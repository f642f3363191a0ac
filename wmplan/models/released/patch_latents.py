"""What DINO-WM and JEPA-WM have in common: patch tokens of a frozen encoder beside an embedding of the robot's state.

The latent of a frame is (P, D + E): patches row-major, each with D visual channels and then the E channels of the
embedded proprioception, which a model predicts patch by patch. Without proprioception E is 0. A frame that was encoded
without its robot state has NaN there: good enough for a goal, of which only the image counts then, and refused as a
context.

The frozen visual encoder is not part of these checkpoints. It is any module from preprocessed images (n, 3, H, W) to
patch tokens (n, P, D), and is given with attach(); without it the model works on tokens (encode_tokens).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wmplan.errors import UserError
from wmplan.models.base import Frames, ModelSpec
from wmplan.models.released.frame_causal import FrameCausalModel


class StepEmbedding(nn.Module):
    """A linear map of each step's vector, stored as a convolution of kernel 1."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.patch_embed = nn.Conv1d(inputs, outputs, 1)

    def forward(self, vectors: Tensor) -> Tensor:
        """Vectors (..., inputs) to (..., outputs)."""
        return F.linear(vectors, self.patch_embed.weight.squeeze(2), self.patch_embed.bias)


class PatchLatentModel(FrameCausalModel):
    """A world model over patch tokens.

    Attributes:
        visual_encoder: from preprocessed images (n, 3, H, W) to (n, P, D), or None.
        proprio_encoder: None for a model without proprioception.
        visual_dim, proprio_emb_dim: D and E.
    """

    proprio_encoder: StepEmbedding | None

    def __init__(self, spec: ModelSpec, patches: int, visual_dim: int, proprio_emb_dim: int) -> None:
        super().__init__(spec)
        self.frame_tokens = self.patches = patches
        self.visual_dim, self.proprio_emb_dim = visual_dim, proprio_emb_dim
        self._frozen: tuple[nn.Module, ...] = ()  # a tuple, so that the frozen encoder is no part of the state dict
        self.proprio_encoder = StepEmbedding(spec.proprio_dim, proprio_emb_dim) if proprio_emb_dim else None

    @property
    def visual_encoder(self) -> nn.Module | None:
        return self._frozen[0] if self._frozen else None

    def attach(self, visual_encoder: nn.Module) -> Self:
        """Give the model its frozen visual encoder, which then follows it to its device and type."""
        self._frozen = (visual_encoder.eval().requires_grad_(False).to(self.device, self.dtype),)
        return self

    def _named_encoder(self) -> nn.Module:
        """The encoder that the architecture names, from the hub's cache or a folder."""
        name = self._architecture.get("visual_encoder")
        if not isinstance(name, str):
            raise UserError(
                "this checkpoint holds and names no visual encoder: attach() one, or import it with encoder=NAME"
            )
        from wmplan.models.encoders.hf import PatchTokens

        return PatchTokens(name)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        for encoder in self._frozen:
            encoder._apply(fn, recurse)
        return super()._apply(fn, recurse)

    @property
    def state_entries(self) -> Tensor:
        return torch.arange(self.spec.latent_shape[-1], device=self.device) >= self.visual_dim

    @abstractmethod
    def preprocess(self, frames: Tensor) -> Tensor:
        """uint8 frames (..., H, W, 3) as the visual encoder takes them, (n, 3, size, size)."""

    def encode(self, frames: Frames, proprio: Tensor | None = None) -> Tensor:
        """Latents (B, T, P, D + E) of frames: see WorldModel.encode, and the module's text on a left-out proprio.

        Raises:
            ValueError: also when no visual encoder is attached.
        """
        frames = self.pick_camera(frames)
        self.check_frames(frames)
        if self.visual_encoder is None:
            self.attach(self._named_encoder())
        assert self.visual_encoder is not None
        tokens = self.visual_encoder(self.preprocess(frames))
        if tuple(tokens.shape[1:]) != (self.patches, self.visual_dim):
            raise UserError(
                f"the visual encoder gives tokens of shape {tuple(tokens.shape[1:])}, "
                f"the model takes {(self.patches, self.visual_dim)}"
            )
        return self.encode_tokens(tokens.unflatten(0, frames.shape[:2]), proprio)

    def encode_tokens(self, visual: Tensor, proprio: Tensor | None = None) -> Tensor:
        """Latents (B, T, P, D + E) of patch tokens (B, T, P, D) beside robot state (B, T, proprio_dim), as it comes."""
        visual = visual.to(self.device, self.latent_dtype)
        if self.proprio_encoder is None:
            return visual
        batch, time = visual.shape[:2]
        if proprio is None:
            embedded = visual.new_full((batch, time, self.proprio_emb_dim), torch.nan)
        else:
            self.check_proprio(proprio, batch, time)
            embedded = self.proprio_encoder(self.normalise_proprio(proprio).to(self.dtype)).to(visual)
        tiled = embedded.unsqueeze(2).expand(-1, -1, self.patches, -1)  # (B, T, E) -> (B, T, P, E)
        return torch.cat([visual, tiled], dim=-1)
