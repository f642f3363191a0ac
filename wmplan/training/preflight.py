"""The check of a whole run against its data, before the first step: all that is wrong at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wmplan.data.reader import Reader
from wmplan.data.sampler import split_episodes
from wmplan.errors import UserError
from wmplan.models import JEPA
from wmplan.models.encoders import TwoStreams
from wmplan.training.checks import CHECKS, OF_FRAMES, READS, Finding, Side, check_columns, some_frames
from wmplan.training.config import TrainConfig
from wmplan.training.frozen_encoder import learns
from wmplan.training.initial_model import initial_model, seeded_initialisation
from wmplan.training.joint import with_predictor
from wmplan.training.windows import validation_rows


def preflight(config: TrainConfig, store: Reader, training: Side, held: Side) -> tuple[list[Finding], JEPA | None]:
    """All that can be known of a run from its settings and its data, and the untrained model if there can be one.

    Args:
        training, held: numbers of the episodes, as split() gave them.
    """
    findings = list(check_columns(config, store))
    lacking = {finding.column for finding in findings if finding.fatal}
    checks = [check for check in CHECKS if READS.get(check) not in lacking]
    if lacking.intersection(config.camera_names):
        checks = [check for check in checks if check not in OF_FRAMES]
    findings += [finding for check in checks for finding in check(config, store, training, held)]
    if lacking:  # there is nothing to make a model of
        return findings, None
    try:
        model = initial_model(config, store, training)
        if (config.pretrained is None or config.train_encoder) and config.joint_predictor is not None:
            with seeded_initialisation(config.seed):
                with_predictor(model, config.joint_predictor, config.joint_predictor_options)
    except ValueError as error:
        if not any(finding.message == str(error) for finding in findings):
            findings.append(Finding(str(error), fatal=True))
        return findings, None
    findings += [
        *check_trained(config, model),
        *check_model(model, some_frames(store, config.camera_names)),
        *check_room(config, store, model),
    ]
    return findings, model


def split(config: TrainConfig, store: Reader) -> tuple[Side, Side]:
    """(training, held-out) episodes, at least one on either side long enough for what it is for, if there are any."""
    return split_episodes(len(store), config.validation, usable=store.lengths >= validation_rows(config))


def report(findings: Sequence[Finding], data: str | Path, say: Callable[[str], None]) -> None:
    """Say what a user should know.

    Raises:
        UserError: with all that is fatal in one line.
    """
    for finding in findings:
        if not finding.fatal:
            say(f"note on data={data}: {finding.message}")
    fatal = [finding.message for finding in findings if finding.fatal]
    if fatal:
        numbered = fatal if len(fatal) == 1 else [f"({number}) {text}" for number, text in enumerate(fatal, start=1)]
        raise UserError(f"data={data} does not fit this run: {'; '.join(numbered)}")


def check_trained(config: TrainConfig, model: JEPA) -> Iterator[Finding]:
    """A stage for every part that has something to learn, where no pretrained model gives it."""
    if config.pretrained is not None:
        return
    frozen = not learns(model.encoder)
    if config.joint.steps and frozen:
        yield Finding(
            f"the encoder {config.encoder!r} is frozen, stage joint encodes the same frames again and again: "
            "joint.steps=0 trains on latents that are computed once"
        )
    elif not config.joint.steps and not frozen:
        scenes = [camera.scene if isinstance(camera, TwoStreams) else camera for camera in model.encoder]
        named = "the encoder" if any(map(learns, scenes)) else "that of the robot alone; set robot_dim=0"
        yield Finding(
            f"joint.steps is 0 and there is no pretrained encoder: nothing would train {named}",
            fatal=True,
        )
    elif not config.joint.steps and not config.dynamics.steps:
        yield Finding("joint.steps and dynamics.steps are both 0: nothing would train the predictor", fatal=True)


@torch.no_grad()
def check_model(model: JEPA, frames: Mapping[str, NDArray[np.uint8]]) -> Iterator[Finding]:
    """An encoder that tells some frames (n, H, W, 3) of each camera apart, be it untrained."""
    seen = {camera: torch.from_numpy(some)[:, None] for camera, some in frames.items()}
    latents = model.eval().encode_visual(seen)[:, 0]
    differ = any((some != some[0]).any() for some in frames.values())
    if differ and (latents - latents[0]).abs().max() <= 1e-6 * latents.abs().max():
        height, width = model.spec.image_size
        yield Finding(
            f"the encoder {model.config.encoder!r} gives all frames of {height} x {width} pixels the same latent: it "
            "needs larger frames, or other options",
            fatal=True,
        )


def check_room(config: TrainConfig, store: Reader, model: JEPA) -> Iterator[Finding]:
    """Room on the disk for the least that the run writes: latents, and weights with what the optimiser keeps."""
    copies = 1 + (len(config.symmetries) if config.dynamics.steps else 0)
    latents = 4 * copies * store.num_rows * int(np.prod(model.spec.latent_shape))
    weights = 4 * sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    folder = Path(config.out).absolute()
    written = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    disk = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    needed, free = latents + 3 * weights - written, shutil.disk_usage(disk).free
    if free < needed:
        yield Finding(
            f"out={config.out} is on a disk with {free / 1e6:.0f} MB free, the run writes at least "
            f"{needed / 1e6:.0f} MB: make room, or choose another out",
            fatal=True,
        )
