"""Frozen vision encoders of the transformers library: DINOv2, DINOv3, I-JEPA, V-JEPA 2, and what else AutoModel knows.

A name is a folder, a name in the hub's cache, or one of the hub, which then downloads it; offline=true, or
HF_HUB_OFFLINE=1, keeps to the first two. Needs the extra: pip install 'wmplan[hf]'.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from wmplan.errors import UserError
from wmplan.models.reading import read_json
from wmplan.registry import register_encoder

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
POOLS = ("cls", "mean", "grid")
AT_ONCE = 64
"""Frames that are encoded together at most."""


class PatchTokens(nn.Module):
    """Patch tokens of a pretrained encoder, after its final norm; always frozen and in evaluation mode.

    Args:
        name: folder or hub name.
        offline: never ask the hub; None leaves that to the environment.

    Attributes:
        model: the encoder of the transformers library.
        patch: pixels along one side of a patch.
        width: D, channels of a token.

    Raises:
        UserError: when the extra is not installed, or there is no such model, or it is no vision encoder of patches.
    """

    def __init__(self, name: str, offline: bool | None = None) -> None:
        super().__init__()
        self.model = load_pretrained(name, offline)
        config: Any = self.model.config
        self.patch, self.width = getattr(config, "patch_size", None), getattr(config, "hidden_size", 0)
        if not isinstance(self.patch, int) or not self.width:
            raise UserError(f"{name} is a {config.model_type} model, which has no square patches to take tokens from")
        self.video = config.model_type == "vjepa2"
        self.tubelet = int(getattr(config, "tubelet_size", 1))
        self.interpolates = "interpolate_pos_encoding" in inspect.signature(self.model.forward).parameters
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode, whatever is trained on top."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Preprocessed images (n, 3, H, W) to patch tokens (n, P, D), row-major."""
        return self.split(images)[1]

    def split(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens before the patches (n, k, D), cls first, where there are any; and the patches (n, P, D)."""
        if self.video:  # one frame as a clip of one tubelet
            clip = images.unsqueeze(1).expand(-1, self.tubelet, -1, -1, -1)
            tokens = self.model(pixel_values_videos=clip, skip_predictor=True).last_hidden_state
        else:
            options = {"interpolate_pos_encoding": True} if self.interpolates else {}
            tokens = self.model(pixel_values=images, **options).last_hidden_state
        assert self.patch is not None
        patches = (images.shape[-2] // self.patch) * (images.shape[-1] // self.patch)
        lead = tokens.shape[1] - patches
        if tokens.ndim != 3 or lead < 0:
            raise UserError(
                f"the encoder gives {tuple(tokens.shape)} for {patches} patches, which cannot be told apart"
            )
        return tokens[:, :lead], tokens[:, lead:]


@register_encoder("hf")
class HFEncoder(nn.Module):
    """A pretrained encoder as one vector a frame, frozen: uint8 frames (N, H, W, 3) to visual latents (N, D).

    Args:
        image_size: (height, width) of the frames; they are resized to squares of `size`.
        latent_dim: D; it has to be what the encoder and `pool` give.
        name: folder or hub name.
        pool: "cls" takes the first token, "mean" the mean of the patches, "grid" lays `grid` x `grid` means side by
            side.
        grid: cells along one side.
        size: pixels of the square image; what the encoder was trained with when left out.
        offline: see PatchTokens.

    Raises:
        UserError: at a value that does not fit; it says what would.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        latent_dim: int,
        *,
        name: str = "facebook/dinov2-small",
        pool: str = "cls",
        grid: int = 4,
        size: int | None = None,
        offline: bool | None = None,
    ) -> None:
        super().__init__()
        if pool not in POOLS:
            raise UserError(f"pool must be one of {', '.join(POOLS)}, got {pool!r}")
        self.tokens = PatchTokens(name, offline)
        self.pool, self.grid = pool, grid
        self.size = size or trained_size(self.tokens.model.config)
        assert self.tokens.patch is not None
        self.side = self.size // self.tokens.patch
        if self.size % self.tokens.patch or (pool == "grid" and not 1 <= grid <= self.side):
            raise UserError(
                f"size is {self.size} and grid {grid}: size must be a multiple of {self.tokens.patch}, "
                "and grid at most the patches of a side"
            )
        outputs = self.tokens.width * (grid**2 if pool == "grid" else 1)
        if latent_dim != outputs:
            raise UserError(f"latent_dim is {latent_dim}, {name} with pool={pool} gives {outputs}")
        self.mean, self.std = normalisation(name)

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 frames (N, H, W, 3) to latents (N, D), without gradients."""
        with torch.no_grad():  # some at a time: as large images, a whole episode's would not fit into memory
            return torch.cat([self.latents(some) for some in frames.split(AT_ONCE)])

    def latents(self, frames: Tensor) -> Tensor:
        """As forward(), of a few frames."""
        weight = next(self.parameters())
        images = frames.to(weight.device).movedim(-1, 1).to(weight.dtype) / 255
        images = F.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        shape = (1, 3, 1, 1)
        images = (images - images.new_tensor(self.mean).view(shape)) / images.new_tensor(self.std).view(shape)
        lead, patches = self.tokens.split(images)
        if self.pool == "grid":
            cells = patches.transpose(1, 2).unflatten(2, (self.side, self.side))  # (N, D, rows, columns)
            return F.adaptive_avg_pool2d(cells, self.grid).flatten(2).transpose(1, 2).flatten(1)
        if self.pool == "cls" and lead.shape[1]:
            return lead[:, 0]
        if self.pool == "cls":
            raise UserError("this encoder has no cls token: take pool=mean or pool=grid")
        return patches.mean(1)


def load_pretrained(name: str, offline: bool | None) -> nn.Module:
    """The encoder of a folder or a hub name, in float32; of a model of images and text, the part for images."""
    try:
        from transformers import AutoModel
    except ImportError as error:
        raise UserError("encoder hf needs an extra: pip install 'wmplan[hf]'") from error
    try:
        model: Any = AutoModel.from_pretrained(name, local_files_only=bool(offline), torch_dtype=torch.float32)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        where = "in the cache, and it may not be downloaded (offline)" if offline else "as a folder or on the hub"
        raise UserError(f"there is no encoder {name!r} {where}: {str(error).strip().splitlines()[0]}") from error
    part: nn.Module = getattr(model, "vision_model", model)
    return part


def trained_size(config: Any) -> int:
    """Pixels of the square image that an encoder was trained with."""
    size = getattr(config, "image_size", None) or getattr(config, "crop_size", None)
    if isinstance(size, list | tuple):
        size = size[0]
    if not isinstance(size, int):
        raise UserError("the encoder does not say its image size: give size=")
    return size


def normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the channels, from the preprocessor_config.json beside the model; else ImageNet's."""
    from transformers.utils import cached_file

    found = cached_file(
        name,
        "preprocessor_config.json",
        local_files_only=True,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    content = read_json(Path(found)) if found else {}
    if not isinstance(content, dict):
        raise UserError(f"{found} must hold names and values")
    mean, std = content.get("image_mean", IMAGENET_MEAN), content.get("image_std", IMAGENET_STD)
    for value in (mean, std):
        if not (isinstance(value, list | tuple) and len(value) == 3 and all(isinstance(x, int | float) for x in value)):
            raise UserError(f"image_mean and image_std in {found} must be three numbers, got {value!r}")
    return tuple(mean), tuple(std)
