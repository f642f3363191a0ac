"""The model of a run before training: its spec from the data, its weights from the seed, a pretrained encoder in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wmplan.data.reader import Reader
from wmplan.errors import UserError
from wmplan.models import JEPA, JEPAConfig, ModelSpec, load
from wmplan.models.sizing import build_to_train
from wmplan.training.action_statistics import action_statistics
from wmplan.training.config import TrainConfig
from wmplan.training.pretrained_encoder import encoder_alone, take_tokens, with_encoder_of

STAGE_OF = {
    "predictor": "dynamics",
    "critic": "critic",
    "decoder": "decoder",
    "reader": "reader",
    "placement": "placement",
    "memory": "memory",
}
"""The stage that trains a part; the reader sees frames, the others latents."""


def initial_model(config: TrainConfig, store: Reader, training: NDArray[np.int64]) -> JEPA:
    """The untrained model for a data set.

    Args:
        training: the episodes that normalisers are computed of.

    Raises:
        UserError: where the settings do not fit the data or each other.
    """
    tokens = None if config.pretrained is None else encoder_alone(config.pretrained)
    if tokens is not None:
        config = with_encoder_of(tokens, config)
    spec = data_spec(config, store, training)
    other = None if config.pretrained is None or tokens is not None else pretrained_model(config.pretrained)
    parts = () if other is None else taken_parts(config, other)
    if other is not None and config.memory.steps:
        least = max(other.predictor.history, 2)
        if config.history < least:
            raise UserError(
                f"history must be at least {least} with memory.steps, got {config.history}: a memory begins with the "
                f"second frame, and the predictor of pretrained={config.pretrained} looks at {other.predictor.history}"
            )
    if other is not None and parts:
        spec = with_normalisers_of(other, spec, parts, config.pretrained, any_history=config.memory.steps > 0)
    for name, symmetry in config.symmetries.items():
        symmetry.check(name, spec.action_dim, spec.proprio_dim, spec.image_size)
    architecture = JEPAConfig(
        encoder=config.encoder,
        encoder_options=config.encoder_options,
        camera_encoders=config.camera_encoders,
        latent_dim=config.latent_dim,
        robot_dim=config.robot_dim,
        predictor=config.predictor,
        predictor_options=config.predictor_options,
        critic=config.critic.steps > 0,
        critic_options=config.critic_options,
        decoder=config.decoder.steps > 0,
        decoder_options={"kind": "sprites", **config.decoder_options},
        reader=config.reader.steps > 0,
        reader_options=config.reader_options,
        placement=config.placement.steps > 0,
        placement_options=config.placement_options,
        memory=config.memory.steps > 0,
        memory_options=config.memory_options,
        window=other.predictor.history if other is not None and config.memory.steps else None,
    )
    with seeded_initialisation(config.seed):
        model = build_to_train(lambda: JEPA(architecture, spec))
    if tokens is not None:
        take_tokens(model, tokens, config.pretrained)
    if other is not None:
        take_encoder(model, other, config.pretrained)
        for part in parts:
            take_part(model, other, part, config.pretrained)
    return model


def data_spec(config: TrainConfig, store: Reader, training: NDArray[np.int64]) -> ModelSpec:
    """What a model of this data expects and gives."""
    meta, actions = store.meta, action_statistics(config, store, training)
    low, high = actions.planned
    proprio = store.column("proprio", training) if config.proprio else np.zeros((1, 0), np.float32)
    deviation = proprio.std(0) + 1e-6
    deviation[np.ptp(proprio, axis=0) == 0] = 1.0  # or else its first move would be a million deviations
    cameras = config.camera_names
    height, width = store.columns[cameras[0]][0][:2]
    return ModelSpec(
        image_size=(height, width),
        history=config.history,
        action_block=config.action_block,
        action_low=tuple(low.tolist()),
        action_high=tuple(high.tolist()),
        action_mean=tuple(actions.mean.tolist()),
        action_std=tuple(actions.std.tolist()),
        action_kinds=actions.kinds,
        action_measured=actions.measured,
        latent_shape=(len(cameras) * (config.latent_dim + config.robot_dim) + proprio.shape[1],),
        proprio_dim=proprio.shape[1],
        proprio_mean=tuple(map(float, proprio.mean(0))),
        proprio_std=tuple(map(float, deviation)),
        control_rate=config.control_rate or meta.control_rate or 10.0,
        cameras=cameras,
    )


def pretrained_model(path: str) -> JEPA:
    """The model whose encoder, and whatever no stage trains, is taken over.

    Raises:
        UserError: of a model that is none of ours.
    """
    other = load(path)
    if not isinstance(other, JEPA):
        raise UserError(f"pretrained={path} is not a JEPA of ours, whose encoder could be taken over")
    return other


def taken_parts(config: TrainConfig, other: JEPA) -> tuple[str, ...]:
    """What is taken over of a pretrained model beside its encoder: to stay as it is, or to begin from."""
    parts = tuple(
        part
        for part, stage in STAGE_OF.items()
        if (config.fine_tune or not getattr(config, stage).steps) and getattr(other, part) is not None
    )
    if config.dynamics.steps or config.train_encoder:  # a memory is of its predictor, and of its latents
        return tuple(part for part in parts if part != "memory")
    return parts


def with_normalisers_of(
    other: JEPA, spec: ModelSpec, parts: Sequence[str], path: str | None, any_history: bool = False
) -> ModelSpec:
    """The spec with the units that parts of another model were trained in: of the robot's state, and of actions.

    Args:
        any_history: whether the predictor looks at a part of the history, whatever that is.

    Raises:
        UserError: where they are of other actions, proprioception or times.
    """
    fixed = {"predictor": ("history", "action_block", "action_dim", "proprio_dim"), "critic": ("action_block",)}
    for part in parts:
        for name in fixed.get(part, ()):
            ours, theirs = getattr(spec, name), getattr(other.spec, name)
            if name == "history" and "memory" not in parts:  # which alone looks at more than the predictor
                theirs = other.predictor.history
            if ours != theirs and not (any_history and name == "history"):
                raise UserError(
                    f"the {part} of pretrained={path} would be taken over, whose {name} is {theirs}, not {ours}: train "
                    f"a new one ({STAGE_OF[part]}.steps, fine_tune=false), or choose the same"
                )
    if set(parts) != {"reader"} and other.spec.proprio_dim == spec.proprio_dim:
        spec = replace(spec, proprio_mean=other.spec.proprio_mean, proprio_std=other.spec.proprio_std)
    if "predictor" not in parts:
        return spec
    return replace(spec, action_mean=other.spec.action_mean, action_std=other.spec.action_std)


def take_part(model: JEPA, other: JEPA, part: str, path: str | None) -> None:
    """Put a part of another model into this one: to stay as it is, or to begin from.

    Raises:
        UserError: where it was trained on latents of another shape.
    """
    if part == "reader":  # which sees frames, no latents
        require_proprio_of(model, other, path)
        in_units_of(other.reader.output, other.spec, model.spec)  # type: ignore[union-attr]
    elif other.spec.latent_shape != model.spec.latent_shape:
        raise UserError(
            f"pretrained={path} has latents of shape {other.spec.latent_shape}, this run's are of "
            f"{model.spec.latent_shape}: its {part} cannot be taken over"
        )
    setattr(model, part, getattr(other, part))
    if part == "predictor":  # what is known of its latents and its errors
        model.whitening.copy_(other.whitening)
        model.error_scale.copy_(other.error_scale)
    names = [name for name in (part, f"{part}_options") if hasattr(model.config, name)]
    names += ["window"] if part == "memory" else []
    model.config = replace(model.config, **{name: getattr(other.config, name) for name in names})


def take_encoder(model: JEPA, other: JEPA, path: str | None) -> None:
    """Put the encoder of another model into this one, with the head that reads the robot's state off it.

    Raises:
        UserError: where it does not fit.
    """
    if other.visual_dim != model.visual_dim:
        raise UserError(
            f"pretrained={path} has an encoder with {other.visual_dim} latent numbers, not {model.visual_dim}"
        )
    model.encoder = other.encoder
    # Or else the checkpoint would tell of another encoder.
    taken = ("encoder", "encoder_options", "camera_encoders", "second_look")
    model.config = replace(model.config, **{name: getattr(other.config, name) for name in taken})
    model.visual_mean.copy_(other.visual_mean)
    model.visual_std.copy_(other.visual_std)
    height, width = model.spec.image_size
    try:
        with torch.no_grad():
            black = torch.zeros(1, 1, height, width, 3, dtype=torch.uint8)
            model.encode_visual(dict.fromkeys(model.spec.cameras, black))
    except RuntimeError as error:
        raise UserError(
            f"pretrained={path} takes frames of {other.spec.image_size}, the data has {model.spec.image_size}"
        ) from error
    if model.proprio_head is not None and other.proprio_head is not None:
        require_proprio_of(model, other, path)
        model.proprio_head.load_state_dict(other.proprio_head.state_dict())
        last = [layer for layer in model.proprio_head.modules() if isinstance(layer, nn.Linear)][-1]
        in_units_of(last, other.spec, model.spec)


def require_proprio_of(model: JEPA, other: JEPA, path: str | None) -> None:
    """Raise a UserError where another model reads a robot state of another length."""
    if other.spec.proprio_dim != model.spec.proprio_dim:
        raise UserError(
            f"pretrained={path} reads {other.spec.proprio_dim} numbers of proprioception off its frames, the data "
            f"has {model.spec.proprio_dim}: set proprio=false"
        )


@torch.no_grad()
def in_units_of(layer: nn.Linear, theirs: ModelSpec, ours: ModelSpec) -> None:
    """Change a last layer that gives states standardised as `theirs` to one that gives the same states as `ours`."""
    their_mean, their_std, mean, std = (
        torch.tensor(numbers)
        for numbers in (theirs.proprio_mean, theirs.proprio_std, ours.proprio_mean, ours.proprio_std)
    )
    layer.weight.mul_((their_std / std)[:, None])
    layer.bias.copy_((layer.bias * their_std + their_mean - mean) / std)


@contextmanager
def seeded_initialisation(seed: int) -> Iterator[None]:
    """Lend the global generator to module initialisers, which take no other, and give it back as it was."""
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)
