"""An encoder of `wmplan pretrain` under a predictor: a linear map from its tokens to latents is fitted, and no more."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from wmplan.checked import check, write_checked
from wmplan.data import WindowSampler
from wmplan.data.reader import Reader
from wmplan.errors import UserError
from wmplan.models import JEPA, VideoJEPA, load_pretrained, resolve
from wmplan.models.building import WITHOUT_ACTIONS
from wmplan.models.checkpoint import is_ours, open_checkpoint
from wmplan.models.encoders import TokenEncoder
from wmplan.training.config import TrainConfig
from wmplan.training.identity import require_made_from

FRAMES = 1024
"""That the map is fitted on, at most."""


def encoder_alone(path: str) -> VideoJEPA | None:
    """The model that was pretrained without actions in a folder; None where there is a world model."""
    found = resolve(path)
    if not is_ours(found) or open_checkpoint(found).config["architecture"].get("kind") != WITHOUT_ACTIONS:
        return None
    return load_pretrained(path, "cpu")


def with_encoder_of(other: VideoJEPA, config: TrainConfig) -> TrainConfig:
    """The settings of a run on a pretrained encoder: how it is built, and no encoder of the robot beside it.

    Raises:
        UserError: where nothing would train a predictor.
    """
    if not config.dynamics.steps:
        raise UserError(
            f"dynamics.steps must be at least 1: pretrained={config.pretrained} holds an encoder without a predictor"
        )
    if other.causal:
        raise UserError(
            f"pretrained={config.pretrained} looks at clips from their beginning (objective=next), a world model at "
            "single frames: take one of objective=ijepa, vjepa or lejepa"
        )
    if config.fine_tune:
        raise UserError(
            f"fine_tune=true goes on with a pretrained model's predictor, and pretrained={config.pretrained} holds an "
            "encoder alone: leave it out"
        )
    sizes = other.config
    if config.encoder not in ("token_vit", TrainConfig.encoder):
        raise UserError(
            f"encoder={config.encoder} is not what pretrained={config.pretrained} holds, which is a token_vit: leave "
            "it out"
        )
    options: dict[str, Any] = {name: getattr(sizes, name) for name in ("patch", "tubelet", "width", "depth", "heads")}
    chosen: dict[str, Any] = {
        name: config.encoder_options[name] for name in ("pool", "grid") if name in config.encoder_options
    }
    for name, value in config.encoder_options.items():
        if name not in chosen and options.get(name) != value:
            raise UserError(
                f"encoder.{name} is {value}, which pretrained={config.pretrained} settles: only pool and grid of "
                "encoder=token_vit can be chosen"
            )
    return replace(config, encoder="token_vit", encoder_options={**options, **chosen}, robot_dim=0)


def take_tokens(model: JEPA, other: VideoJEPA, path: str | None) -> None:
    """Put the pretrained transformer into the encoder of every camera.

    Raises:
        UserError: where it takes frames of another size.
    """
    if other.spec.image_size != model.spec.image_size:
        raise UserError(
            f"pretrained={path} takes frames of {other.spec.image_size}, the data has {model.spec.image_size}"
        )
    for encoder in model.encoder:
        assert isinstance(encoder, TokenEncoder)
        encoder.vit.load_state_dict(other.used.state_dict())


def fit_head(model: JEPA, store: Reader, training: NDArray[Any], path: Path, made_from: Mapping[str, Any]) -> None:
    """Make the linear map from tokens to latents that onto their principal components, or read it from its file.

    Args:
        model: with the pretrained transformer in the encoder of every camera.
        training: episodes whose frames are taken.
        path: of the file, so that a run that goes on has the same latents to the bit.
        made_from: what the file depends on.

    Raises:
        UserError: where there are fewer frames than numbers in a latent, or the file is damaged.
    """
    if path.exists():
        require_made_from(path, check(path), made_from)
        model.load_state_dict(torch.load(path, weights_only=True), strict=False)
        return
    count = min(FRAMES, int(store.lengths[training].sum()))
    batch = next(iter(WindowSampler(store, 1, 1, count, 0, episodes=training, columns=model.spec.cameras)))
    fit_to(model.eval(), [batch[camera][:, 0] for camera in model.spec.cameras])
    heads = {name: tensor for name, tensor in model.state_dict().items() if re.match(r"encoder\.\d+\.head\.", name)}
    content = io.BytesIO()
    torch.save(heads, content)
    write_checked(path, lambda file: file.write(content.getbuffer()), made_from)


@torch.no_grad()
def fit_to(model: JEPA, views: Sequence[Tensor]) -> None:
    """As fit_head(), on frames (N, H, W, 3) of each camera."""
    own = len(model.encoder) == len(views)
    for number, encoder in enumerate(model.encoder):
        assert isinstance(encoder, TokenEncoder)
        seen = views[number : number + 1] if own else views
        encoder.set_head(torch.cat([encoder.features(part) for part in seen]))
