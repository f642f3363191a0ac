"""A JEPA without actions: an encoder of images or clips, and what predicts hidden tokens from those that are seen."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wmplan.errors import UserError
from wmplan.models.encoders.token_vit import Grid, Places, TokenViT
from wmplan.models.encoders.vit import Block
from wmplan.models.next_tokens import CausalTokenViT, NextErrors, NextTokens
from wmplan.models.registry import require_positive
from wmplan.models.target_standard import TargetStandard
from wmplan.settings.build import convert_fields


@dataclass(frozen=True)
class ClipSpec:
    """What a model without actions looks at.

    Attributes:
        image_size: (height, width) of the frames in pixels.
        frames: of a clip; 1 for images.
        stride: rows of its data between two of them.
        rate: rows of its data in a second, where that is known.
    """

    image_size: tuple[int, int]
    frames: int = 1
    stride: int = 1
    rate: float | None = None

    def __post_init__(self) -> None:
        convert_fields(self)
        for name in ("frames", "stride"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class ViTConfig:
    """Sizes of an encoder, and of the narrow transformer that predicts its hidden tokens.

    Attributes:
        patch: pixels a side of a token.
        tubelet: frames of a token; null for what the objective takes.
        width, depth, heads: of the encoder.
        predictor_width, predictor_depth, predictor_heads: of the predictor.
    """

    patch: int = 8
    tubelet: int | None = None
    width: int = 192
    depth: int = 4
    heads: int = 3
    predictor_width: int = 96
    predictor_depth: int = 2
    predictor_heads: int = 3

    def __post_init__(self) -> None:
        convert_fields(self, "vit")
        for part in ("", "predictor_"):
            width, heads = getattr(self, f"{part}width"), getattr(self, f"{part}heads")
            if heads > 0 and width % heads:
                raise UserError(f"vit.{part}heads must divide vit.{part}width, {width}, got {heads}")


class VideoJEPA(nn.Module):
    """An encoder and a predictor of hidden tokens, of images too: these are clips of one frame.

    Args:
        spec: what it looks at.
        config: its sizes; `tubelet` has to be said.
        target: whether the predicted tokens are those of a moving average of the encoder, which then is what is used.
        projection: numbers that tokens are mapped to before they are compared, 0 for none.
        standard: whether tokens are standardised by place before they are compared, see TargetStandard; those of the
            average are layer-normalised where not.
        causal: whether tokens know nothing of later ones, and the colours of the next tubelet are predicted from each.
            There is no average, no projection and no standard then.

    Attributes:
        encoder, predictor: TokenViT and HiddenTokenPredictor; CausalTokenViT and NextTokens of a causal model.
        target: the moving average, None where there is none.
        projection: the map, None where there is none.
        standard: what standardises tokens, None where that is not done.
        card: what is known of the model.
    """

    def __init__(
        self,
        spec: ClipSpec,
        config: ViTConfig,
        *,
        target: bool = True,
        projection: int = 0,
        standard: bool = False,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        if config.tubelet is None:
            raise UserError("tubelet must be a whole number of frames, got null")
        if causal and (target or projection or standard):
            raise UserError("a causal model compares with colours: target, projection and standard must be off")
        self.causal = causal
        self.encoder = (CausalTokenViT if causal else TokenViT)(
            spec.image_size,
            spec.frames,
            patch=config.patch,
            tubelet=config.tubelet,
            width=config.width,
            depth=config.depth,
            heads=config.heads,
        )
        self.predictor: nn.Module
        if causal:
            self.predictor = NextTokens(config.width, config.tubelet, config.patch)
        else:
            self.predictor = HiddenTokenPredictor(
                self.encoder.grid,
                config.width,
                projection or config.width,
                width=config.predictor_width,
                depth=config.predictor_depth,
                heads=config.predictor_heads,
            )
        self.target = copy.deepcopy(self.encoder).requires_grad_(False) if target else None
        self.projection = nn.Linear(config.width, projection) if projection else None
        time, rows, columns = self.encoder.grid
        self.standard = TargetStandard(time * rows * columns, config.width) if standard else None
        self.card: dict[str, Any] = {}

    @property
    def architecture(self) -> dict[str, Any]:
        """What a checkpoint says of how this model is built."""
        return {
            "kind": "video_jepa",
            **asdict(self.config),
            "target": self.target is not None,
            "projection": self.projection.out_features if self.projection else 0,
            "standard": self.standard is not None,
            **({"causal": True} if self.causal else {}),
        }

    @property
    def used(self) -> TokenViT:
        """The encoder that is used after training: the moving average where there is one."""
        return self.encoder if self.target is None else self.target

    def tokens(self, clips: Tensor) -> Tensor:
        """Tokens (N, T', rows, columns, width) of uint8 clips (N, T, H, W, 3), T up to the spec's frames."""
        encoder = self.used
        return encoder(clips).unflatten(1, (-1, *encoder.grid[1:]))

    def next_errors(self, clips: Tensor) -> NextErrors:
        """How wrong a causal model's predictions of uint8 clips (N, T, H, W, 3) are, for every tubelet but the first.

        T is of whole tubelets, up to the spec's frames.
        """
        assert isinstance(self.encoder, CausalTokenViT)
        cells = self.encoder.grid[1] * self.encoder.grid[2]
        colours = self.encoder.colours(self.encoder.tubelets(clips))
        tokens = self.encoder.of_colours(colours)
        found: NextErrors = self.predictor(tokens.unflatten(1, (-1, cells)), colours.unflatten(1, (-1, cells)))
        return found

    def targets(self, clips: Tensor) -> Tensor:
        """What predictions of tokens are compared with, float32 (N, tokens, D), of uint8 clips (N, T, H, W, 3).

        Gradients reach the encoder where there is a projection.
        """
        if self.projection is not None:
            own = self.encoder(clips)
            projected: Tensor = self.projection(own if self.standard is None else self.standard(own))
            return projected.float()
        with torch.no_grad():
            tokens = self.used(clips).float()
            if self.standard is None:
                return F.layer_norm(tokens, tokens.shape[-1:])
            standardised: Tensor = self.standard(tokens)
        return standardised


class HiddenTokenPredictor(nn.Module):
    """Tokens that are hidden, from those that are seen and the places of both (I-JEPA, Assran et al. 2023).

    Args:
        grid: of the encoder.
        inputs, outputs: width of the seen tokens, and of the predicted ones.
        width, depth, heads: of the transformer.
    """

    def __init__(self, grid: Grid, inputs: int, outputs: int, *, width: int, depth: int, heads: int) -> None:
        super().__init__()
        require_positive("predictor", width=width, depth=depth, heads=heads)
        self.enter = nn.Linear(inputs, width)
        self.place = Places(grid, width)
        self.hidden = nn.Parameter(torch.zeros(width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, outputs)
        self.head_dim = width // heads

    def forward(self, context: Tensor, seen: Tensor, hidden: Tensor) -> Tensor:
        """Tokens (N, M, outputs) at the numbers `hidden` (N, M), from `context` (N, K, inputs) at `seen` (N, K)."""
        tokens = torch.cat([self.enter(context), self.hidden.expand(*hidden.shape, -1)], 1)
        index = torch.cat([seen, hidden], 1)
        tokens = tokens + self.place(index)
        rotation = self.place.rotation(index, self.head_dim)
        for block in self.blocks:
            tokens = block(tokens, rotation)
        out: Tensor = self.leave(self.norm(tokens[:, context.shape[1] :]))
        return out


def pooled(tokens: Tensor, cells: int) -> Tensor:
    """Means of tokens (N, T', rows, columns, D) over the frames and over `cells` x `cells` parts: (N, cells^2 D).

    At most as many parts a side as the grid has.
    """
    whole = tokens.mean(1).movedim(-1, 1)  # (N, D, rows, columns)
    rows, columns = (min(cells, side) for side in whole.shape[-2:])
    return F.adaptive_avg_pool2d(whole, (rows, columns)).flatten(2).transpose(1, 2).flatten(1)
