"""What robots saw and did in the last robot steps, given to a world model at the stride it was trained with."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmplan.device import upload
from wmplan.errors import UserError
from wmplan.models.base import Frames, ModelSpec, WorldModel

Observation = Mapping[str, Any] | NDArray[np.uint8]
"""Camera frames by name, (H, W, 3) or (B, H, W, 3), and `proprio` (P,) or (B, P); or one camera's frames alone."""


@dataclass(eq=False)
class StepObservation:
    """What B robots see at one robot step, and, once it is needed, what the model makes of it.

    Attributes:
        cameras: frames by camera name, uint8 (B, 1, H, W, 3).
        proprio: (B, 1, P); None where it was left out.
        parts: what the frames were put together from, each the frames of all cameras.
    """

    cameras: dict[str, Tensor]
    proprio: Tensor | None
    parts: tuple[dict[str, Tensor], ...] = ()
    _latent: Tensor | None = field(default=None, repr=False)  # (B, *latent)

    @property
    def batch(self) -> int:
        """B, robots."""
        return len(next(iter(self.cameras.values())))

    @property
    def frames(self) -> Frames:
        """The frames as a model takes them: of one camera alone, or by name."""
        return _frames(self.cameras)

    @property
    def is_encoded(self) -> bool:
        """Whether the latent is known."""
        return self._latent is not None

    @property
    def latent(self) -> Tensor:
        """Of shape (B, *latent).

        Raises:
            RuntimeError: before encode() or encode_together().
        """
        if self._latent is None:
            raise RuntimeError("the observation has not been encoded")
        return self._latent

    def rows(self) -> list[StepObservation]:
        """That of each robot, B being 1."""
        return [
            StepObservation(
                {name: frames[row : row + 1] for name, frames in self.cameras.items()},
                None if self.proprio is None else self.proprio[row : row + 1],
            )
            for row in range(self.batch)
        ]


def read_observation(observation: Observation, model: WorldModel, device: torch.device) -> tuple[StepObservation, bool]:
    """An observation as tensors with a batch axis, and whether it came with one.

    They are in memory of their own, and the caller may use its arrays again: cameras and vectorised environments do,
    and a frame may be encoded only later. Arrays may be views in any order, and read-only. Frames have to be uint8:
    what numbers of another type mean (from 0 to 1, to 255, to 65535) would be a guess.

    Raises:
        ValueError: at a missing camera, a frame of the wrong size or type, or robot state that is not finite.
    """
    spec = model.spec
    if not isinstance(observation, Mapping):
        if len(spec.cameras) > 1:
            raise UserError(f"the model sees {', '.join(spec.cameras)}: give a dict of frames, not one array")
        observation = {spec.cameras[0]: observation}
    missing = [name for name in spec.cameras if name not in observation]
    if missing:
        there = ", ".join(map(str, observation)) or "nothing"
        raise UserError(f"the observation has no {missing[0]!r}; it has {there}")

    frames, batched = {}, False
    for name in spec.cameras:
        given = np.asarray(observation[name])
        if given.dtype != np.uint8:
            raise UserError(f"{name} must be uint8, got {given.dtype}: RGB from 0 to 255")
        if given.ndim not in (3, 4):
            raise UserError(f"{name} must have shape (H, W, 3) or (B, H, W, 3), got {given.shape}")
        batched = given.ndim == 4
        frame = torch.from_numpy(np.array(given if batched else given[None], order="C"))[:, None]  # (B, 1, H, W, 3)
        try:
            model.check_frames(frame)
        except ValueError as error:
            wanted = (*spec.image_size, 3)
            if given.shape[-3:] == wanted:
                raise UserError(f"{name}: {error}") from None
            raise UserError(
                f"{name} must be a uint8 array of shape {_shape(wanted, batched)}, got {given.shape}"
            ) from None
        frames[name] = upload(frame, device)
    batch = len(frames[spec.cameras[0]])
    if any(len(frame) != batch for frame in frames.values()):
        raise UserError(f"the cameras have different batches: {', '.join(f'{k} {len(v)}' for k, v in frames.items())}")

    proprio = None
    if spec.proprio_dim and observation.get("proprio") is not None:
        proprio = upload(_numbers("proprio", observation["proprio"]), device)
        due = (batch, spec.proprio_dim) if batched else (spec.proprio_dim,)
        if proprio.shape != due:
            raise UserError(f"proprio must have shape {due}, got {tuple(proprio.shape)}")
        proprio = (proprio if batched else proprio[None])[:, None]  # (B, 1, P)
        model.check_proprio(proprio, batch, 1)
    return StepObservation(frames, proprio), batched


def encode(model: WorldModel, observation: StepObservation) -> Tensor:
    """The latents (B, *latent), computed once."""
    if not observation.is_encoded:
        own = None if observation.proprio is None else observation.proprio.clone()
        observation._latent = _encoded(model, observation.frames, own, [_frames(one) for one in observation.parts])
    return observation.latent


def encode_together(model: WorldModel, moments: Sequence[Moment]) -> None:
    """Encode every frame of the moments that has no latent yet, as one batch."""
    seen = [one for moment in moments for one in (moment.before, moment.after)]
    waiting = list({id(one): one for one in seen if not one.is_encoded}.values())
    for alike in _groups(waiting, lambda one: (one.proprio is None, len(one.parts))):
        proprios = [one.proprio for one in alike if one.proprio is not None]
        _encode_all(model, alike, torch.cat(proprios) if proprios else None)


@dataclass(frozen=True)
class Moment:
    """The latent of one robot step: of one frame, or of two around it, of which the later counts `share`."""

    before: StepObservation
    after: StepObservation
    share: float = 0.0

    @property
    def latent(self) -> Tensor:
        """(1, *latent); the frames have to be encoded."""
        if self.share == 0.0:
            return self.before.latent
        return torch.lerp(self.before.latent, self.after.latent, self.share)


@dataclass(frozen=True, eq=False)
class FrameHistory:
    """Frames of one robot with the steps they were taken at, and the actions executed between them; it never changes.

    A context takes frames an action_block apart. Where none was taken at such a step, the latents of the two around it
    are interpolated, if these are no farther than two model steps apart; where even that cannot be, the history ends.

    Attributes:
        spec: of the model it is for.
        actions: executed up to the newest frame, the last ones, (n, a).
        frames: robot step and frame, oldest first.
    """

    spec: ModelSpec
    actions: NDArray[np.float32]
    frames: tuple[tuple[int, StepObservation], ...] = ()

    @classmethod
    def empty(cls, spec: ModelSpec) -> FrameHistory:
        """Before the first frame."""
        return cls(spec, np.zeros((0, spec.action_dim), np.float32))

    @property
    def step(self) -> int:
        """The newest frame's robot step."""
        return self.frames[-1][0]

    def extended(self, seen: StepObservation, executed: NDArray[np.float32]) -> FrameHistory:
        """With a new frame, after `executed` (n, a) robot steps; a frame that nothing follows is replaced."""
        if not self.frames:
            return FrameHistory(self.spec, self.actions, ((0, seen),))
        if (self.frames[-1][1].proprio is None) != (seen.proprio is None):
            here, before = ("missing", "was") if seen.proprio is None else ("given", "was not")
            raise UserError(
                f"proprio is {here} here, and {before} in this episode's first observation: give it always or never"
            )
        frames = self.frames if len(executed) else self.frames[:-1]
        step = self.step + len(executed)
        # One model step more than a context spans, for the prediction of the newest frame.
        oldest = step - self.spec.history * self.spec.action_block
        begin = max((index for index, (at, _) in enumerate(frames) if at <= oldest), default=0)
        actions = np.concatenate([self.actions, executed])[-(step - oldest) :]
        return FrameHistory(self.spec, actions, (*frames[begin:], (step, seen)))

    def context(self, back: int = 0) -> list[Moment]:
        """The moments, oldest first, of a context that ends `back` robot steps before the newest frame; maybe none."""
        moments: list[Moment] = []
        for index in range(self.spec.history):
            moment = self._at(self.step - back - index * self.spec.action_block)
            if moment is None:
                break
            moments.append(moment)
        return moments[::-1]

    def executed(self, steps: int, back: int = 0) -> NDArray[np.float32]:
        """The actions of `steps` robot steps up to `back` before the newest frame, as blocks (steps / block, A)."""
        end = len(self.actions) - back
        return self.actions[end - steps : end].reshape(-1, self.spec.block_dim)

    def _at(self, step: int) -> Moment | None:
        later = [(at, seen) for at, seen in self.frames if at >= step]
        earlier = [(at, seen) for at, seen in self.frames if at <= step]
        if not later or not earlier:
            return None
        (first, before), (last, after) = earlier[-1], later[0]
        if last - first > 2 * self.spec.action_block:
            return None
        return Moment(before, after, (step - first) / (last - first) if last > first else 0.0)


def _encode_all(model: WorldModel, observations: Sequence[StepObservation], proprio: Tensor | None) -> None:
    """Encode observations of one robot each, with their robot states (N, 1, P)."""
    parts = [_together(part) for part in zip(*[one.parts for one in observations], strict=True)]
    latents = _encoded(model, _together([one.cameras for one in observations]), proprio, parts)  # (N, *latent)
    for index, one in enumerate(observations):
        one._latent = latents[index : index + 1]


def _together(cameras: Sequence[dict[str, Tensor]]) -> Frames:
    """The frames of several robots as one batch."""
    return _frames({name: torch.cat([one[name] for one in cameras]) for name in cameras[0]})


def _groups(
    observations: Sequence[StepObservation], kind: Callable[[StepObservation], Hashable]
) -> list[list[StepObservation]]:
    """The observations of each kind, which are encoded as one batch."""
    found: dict[Hashable, list[StepObservation]] = {}
    for one in observations:
        found.setdefault(kind(one), []).append(one)
    return list(found.values())


@torch.inference_mode()
def _encoded(model: WorldModel, frames: Frames, proprio: Tensor | None, parts: Sequence[Frames]) -> Tensor:
    if not parts:
        return model.encode(frames, proprio)[:, 0]
    return model.encode_composed(frames, parts, proprio)[:, 0]


def _frames(cameras: dict[str, Tensor]) -> Frames:
    return cameras if len(cameras) > 1 else next(iter(cameras.values()))


def _shape(one: tuple[int, ...], batched: bool) -> str:
    return f"({', '.join(['B', *map(str, one)])})" if batched else str(one)


def _numbers(name: str, given: Any) -> Tensor:
    """Numbers of any type as float32, in memory of their own; what is too large for that is infinite."""
    numbers = np.asarray(given)
    if numbers.dtype.kind not in "biuf":
        raise UserError(f"{name} must be an array of numbers, got {numbers.dtype}")
    with np.errstate(over="ignore"):
        return torch.from_numpy(np.array(numbers, np.float32, order="C"))
