"""The ModelSpec of a released model: what its sizes fix, and what has to be told."""

from __future__ import annotations

from dataclasses import replace

from wmplan.models.base import ModelSpec
from wmplan.models.errors import CheckpointError


def fit_spec(
    spec: ModelSpec | None,
    *,
    image_size: int,
    history: int,
    action_dim: int,
    action_block: int,
    latent_shape: tuple[int, ...],
    proprio_dim: int = 0,
) -> ModelSpec:
    """The spec with what the model's sizes fix filled in.

    Args:
        spec: what the release leaves out. Left out itself, actions and proprioception are taken as the model takes
            them (mean 0, standard deviation 1) and actions as bounded by -1 and 1.
        image_size: pixels of the square image that the encoder sees.
        history, latent_shape: as in ModelSpec.
        action_dim, action_block, proprio_dim: as in ModelSpec; a given spec has to agree with their product and with
            the last.

    Raises:
        CheckpointError: when the spec and the sizes do not agree.
    """
    if spec is None:
        return ModelSpec(
            image_size=(image_size, image_size),
            history=history,
            action_block=action_block,
            action_low=(-1.0,) * action_dim,
            action_high=(1.0,) * action_dim,
            action_mean=(0.0,) * action_dim,
            action_std=(1.0,) * action_dim,
            latent_shape=latent_shape,
            proprio_dim=proprio_dim,
            proprio_mean=(0.0,) * proprio_dim,
            proprio_std=(1.0,) * proprio_dim,
        )
    if spec.block_dim != action_dim * action_block:
        raise CheckpointError(
            f"the model takes {action_dim * action_block} action numbers a step, the options give "
            f"{spec.action_block} robot steps of {spec.action_dim}"
        )
    if spec.proprio_dim != proprio_dim:
        raise CheckpointError(
            f"the model takes {proprio_dim} numbers of robot state, the options give {spec.proprio_dim}"
        )
    return replace(spec, history=min(spec.history, history), latent_shape=latent_shape)
