"""Recorded episodes as a model sees them: latents a model step apart, the actions between them, and windows of both."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from wmplan.data.converted import resized
from wmplan.data.reader import Reader
from wmplan.errors import UserError
from wmplan.models.base import WorldModel

SMALL = 16
"""Pixels of a side of the small frames by which frames are compared."""
KEPT = 4
"""Episodes whose frames are kept in full, for films."""
FRAMES_AT_ONCE = 64
ALIKE = 1e-6
"""Difference of latents, as a share of their size, up to which they are the same."""
NUMBERS_AT_ONCE = 2**22
"""Numbers in the latents of one batch of contexts."""


@dataclass(frozen=True, eq=False)
class Recording:
    """One episode at every model step; on the CPU.

    Attributes:
        episode: its number in the data.
        latents: with the robot's own state where the model takes it, (T, *latent).
        goals: the same frames encoded as goal images are, from the image alone where the model can, (T, *latent).
        actions: between the frames, (T - 1, A).
        small: the frames, SMALL pixels a side, from 0 to 1, those of all cameras side by side, (T, numbers).
        frames: the first camera's in full, uint8 (T, H, W, 3), of the first few recordings; None of the others.
    """

    episode: int
    latents: Tensor
    goals: Tensor
    actions: Tensor
    small: Tensor
    frames: NDArray[np.uint8] | None = None


class Window(NamedTuple):
    """A place in the recordings: the recording, and its newest frame that is seen."""

    recording: int
    now: int


class Batch(NamedTuple):
    """Some windows, on the model's device.

    Attributes:
        context: (N, history, *latent).
        past: the actions between these, (N, history - 1, A); None where there is one frame.
        actions: that were taken then, (N, K, A).
        future: what they led to, (N, K, *latent).
        goals: the same encoded as goal images are, (N, K, *latent).
    """

    context: Tensor
    past: Tensor | None
    actions: Tensor
    future: Tensor
    goals: Tensor

    @property
    def now(self) -> Tensor:
        """The newest frame's latent, (N, *latent)."""
        return self.context[:, -1]


class Recordings:
    """What a model makes of recorded episodes.

    Args:
        model: the model.
        recordings: one an episode.
        steps: model steps that are looked ahead at most, K; fewer where half of the episodes are shorter.
        seed: of what is drawn.

    Raises:
        UserError: if no episode is long enough, or all frames are the same picture.
    """

    def __init__(self, model: WorldModel, recordings: Sequence[Recording], steps: int, seed: int = 0) -> None:
        self.model, self.recordings, self.seed = model, recordings, seed
        history = model.spec.history
        usable = [len(one.latents) - history for one in recordings if len(one.latents) > history]
        if not usable:
            rows = history * model.spec.action_block + 1
            raise UserError(f"no episode has the {rows} rows that one prediction of this model takes")
        if not any(bool((one.small != recordings[0].small[0]).any()) for one in recordings):
            raise UserError("every frame of these episodes is the same picture: there is nothing to predict")
        self.steps = min(steps, statistics.median_high(usable))

    @property
    def is_blind(self) -> bool:
        """Whether all frames have the same latent, although they differ."""
        first = self.recordings[0].goals[0]
        size = max(float(one.goals.abs().max()) for one in self.recordings)
        return all(float((one.goals - first).abs().max()) <= ALIKE * size for one in self.recordings)

    def windows(self, steps: int) -> list[Window]:
        """All windows with a whole context and `steps` model steps after it, in an order drawn from the seed."""
        first = self.model.spec.history - 1
        found = [
            Window(number, now)
            for number, one in enumerate(self.recordings)
            for now in range(first, len(one.latents) - steps)
        ]
        order = np.random.default_rng(self.seed).permutation(len(found))
        return [found[index] for index in order]

    def gather(self, windows: Sequence[Window], steps: int) -> Batch:
        """The windows with `steps` model steps after them."""
        history = self.model.spec.history
        parts: dict[str, list[Tensor]] = {name: [] for name in Batch._fields}
        for number, now in windows:
            one = self.recordings[number]
            parts["context"].append(one.latents[now + 1 - history : now + 1])
            parts["past"].append(one.actions[now + 1 - history : now])
            parts["actions"].append(one.actions[now : now + steps])
            parts["future"].append(one.latents[now + 1 : now + 1 + steps])
            parts["goals"].append(one.goals[now + 1 : now + 1 + steps])
        context, past, *rest = (torch.stack(values).to(self.model.device) for values in parts.values())
        return Batch(context, past if history > 1 else None, *rest)

    def batches(self, windows: Sequence[Window], steps: int) -> Iterator[Batch]:
        """The windows in batches that fit into memory."""
        frames = self.model.spec.history + 2 * steps
        size = max(1, NUMBERS_AT_ONCE // (frames * math.prod(self.model.spec.latent_shape)))
        for begin in range(0, len(windows), size):
            yield self.gather(windows[begin : begin + size], steps)


def record(model: WorldModel, data: Reader, episodes: Sequence[int], steps: int, seed: int = 0) -> Recordings:
    """Encode episodes of a data set.

    Raises:
        UserError: if the data is not of this model's robot, or no episode is long enough.
    """
    require_fit(model, data)
    told = tqdm(episodes, "encode", unit="ep", disable=None)
    found = [encoded(model, data, episode, keep=number < KEPT) for number, episode in enumerate(told)]
    return Recordings(model, found, steps, seed)


def require_fit(model: WorldModel, data: Reader) -> None:
    """Check that data has the model's cameras, actions, robot state and rate.

    Raises:
        UserError: naming both sides.
    """
    spec = model.spec
    for name in (*columns_of(model).values(), "action"):
        data.require_column(name)
    differs = []
    if (width := data.columns["action"][0][-1]) != spec.action_dim:
        differs.append(f"actions of {width} numbers, the model's have {spec.action_dim}")
    if reads_proprio(model, data) and (width := data.columns["proprio"][0][-1]) != spec.proprio_dim:
        differs.append(f"robot states of {width} numbers, the model's have {spec.proprio_dim}")
    if spec.proprio_dim and not (model.reads_proprio or reads_proprio(model, data)):
        differs.append("no robot state (proprio), which this model does not read off frames")
    rate = data.meta.control_rate
    if rate is not None and abs(rate - spec.control_rate) > 0.02 * spec.control_rate:
        differs.append(f"{rate:g} rows a second, the model takes {spec.control_rate:g}")
    if differs:
        raise UserError(f"{data.name} has {' and '.join(differs)}: give data of this model's robot")


def columns_of(model: WorldModel) -> dict[str, str]:
    """The data's column of frames for each of the model's cameras: of their names where there are several."""
    cameras = model.spec.cameras
    return {name: name for name in cameras} if len(cameras) > 1 else {cameras[0]: "pixels"}


def reads_proprio(model: WorldModel, data: Reader) -> bool:
    """Whether the model takes the robot's own state and the data has it; else it is read off the frames."""
    return bool(model.spec.proprio_dim) and "proprio" in data.columns


@torch.inference_mode()
def encoded(model: WorldModel, data: Reader, episode: int, keep: bool = False) -> Recording:
    """One episode at every model step."""
    spec = model.spec
    cameras = columns_of(model)
    names = [*cameras.values(), "action", *(["proprio"] if reads_proprio(model, data) else [])]
    columns = data.episode(episode, names)
    block, dim = spec.action_block, spec.action_dim
    steps = max(0, len(columns["action"]) - 1) // block
    frames = {}  # (T, H, W, 3) of each camera
    for camera, column in cameras.items():
        recorded = columns[column][: steps * block + 1 : block]
        frames[camera] = recorded if recorded.shape[1:3] == spec.image_size else resized(recorded, *spec.image_size)
    actions = np.asarray(columns["action"][: steps * block], np.float32).reshape(steps, block * dim)
    latents, goals = [], []
    for begin in range(0, steps + 1, FRAMES_AT_ONCE):
        part = slice(begin, begin + FRAMES_AT_ONCE)
        views = {
            camera: torch.from_numpy(np.ascontiguousarray(whole[part]))[None].to(model.device)
            for camera, whole in frames.items()
        }
        seen = views if len(views) > 1 else views[spec.cameras[0]]
        if "proprio" in columns:
            own = np.asarray(columns["proprio"][: steps * block + 1 : block][part], np.float32)
            latents.append(model.encode(seen, torch.from_numpy(own)[None].to(model.device))[0])
            goals.append(model.encode(seen)[0] if model.reads_proprio else latents[-1])
        else:
            latents.append(model.encode(seen)[0])
            goals.append(latents[-1])
    small = [torch.from_numpy(resized(whole, SMALL, SMALL)).float().flatten(1) / 255 for whole in frames.values()]
    return Recording(
        episode,
        torch.cat(latents).float().cpu(),
        torch.cat(goals).float().cpu(),
        torch.from_numpy(actions),
        torch.cat(small, -1),
        frames[spec.cameras[0]] if keep else None,
    )
