"""Models of either kind as subjects, and networks of their architecture that learnt nothing."""

from __future__ import annotations

from pathlib import Path

from wmplan.exam.causal_model import CausalSubject
from wmplan.exam.subject import Subject
from wmplan.exam.video_model import VideoSubject
from wmplan.exam.world_model import WorldModelSubject
from wmplan.models.base import WorldModel
from wmplan.models.building import build_model
from wmplan.models.errors import CheckpointError
from wmplan.models.loading import load, load_pretrained
from wmplan.models.video_jepa import VideoJEPA
from wmplan.training.initial_model import seeded_initialisation

Model = WorldModel | VideoJEPA


def load_any(name_or_path: str | Path, device: str | None = None) -> Model:
    """A model with actions or without, as load() and load_pretrained() do.

    Raises:
        CheckpointError: in one line, what is wrong with the checkpoint.
    """
    try:
        return load_pretrained(name_or_path, device)
    except CheckpointError:
        return load(name_or_path, device)


def subject_of(model: Model, name: str) -> Subject:
    """The model as one that can be examined."""
    if isinstance(model, VideoJEPA):
        return (CausalSubject if model.causal else VideoSubject)(model, name)
    return WorldModelSubject(model, name)


def untrained(model: Model, count: int) -> list[Subject]:
    """Networks of the model's architecture with random weights; none where the model has no form of ours."""
    try:
        return [_untrained(model, seed) for seed in range(count)]
    except NotImplementedError:
        return []


def _untrained(model: Model, seed: int) -> Subject:
    with seeded_initialisation(seed):
        if isinstance(model, VideoJEPA):
            projection = model.projection.out_features if model.projection else 0
            network: Model = VideoJEPA(
                model.spec,
                model.config,
                target=model.target is not None,
                projection=int(projection),
                standard=model.standard is not None,
                causal=model.causal,
            )
        else:
            network = build_model(model.architecture, model.spec)
    return subject_of(network.to(next(model.parameters()).device), f"untrained {seed}")
