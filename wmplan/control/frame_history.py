"""What a robot saw at the robot steps a planner happened to look, and what it did between: a history with gaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wmplan.control.history import Seen
from wmplan.models.base import ModelSpec, WorldModel


@dataclass(frozen=True)
class Moment:
    """The latent of one robot step: of one frame, or of two around it, of which the later counts `share`."""

    before: Seen
    after: Seen
    share: float = 0.0

    @property
    def latent(self) -> Tensor:
        """(1, *latent); the frames have to be encoded."""
        assert self.before.latent is not None and self.after.latent is not None
        if self.share == 0.0:
            return self.before.latent
        return torch.lerp(self.before.latent, self.after.latent, self.share)


@dataclass(frozen=True)
class FrameHistory:
    """Frames with the robot steps they were taken at, and the actions executed between them; it never changes.

    A context takes frames an action_block apart. Where none was taken at such a step, the latents of the two around it
    are interpolated, if these are no farther than two model steps apart; where even that cannot be, the history ends.

    Attributes:
        spec: of the model it is for.
        frames: robot step and frame, oldest first.
        actions: executed up to the newest frame, the last ones (n, a).
    """

    spec: ModelSpec
    frames: tuple[tuple[int, Seen], ...] = ()
    actions: Tensor | None = None

    @property
    def step(self) -> int:
        """The newest frame's robot step."""
        return self.frames[-1][0]

    def extended(self, seen: Seen, executed: Tensor) -> FrameHistory:
        """With a new frame, after `executed` (n, a) robot steps; a frame that nothing follows is replaced."""
        if not self.frames:
            return FrameHistory(self.spec, ((0, seen),), executed[:0])
        assert self.actions is not None
        if (self.frames[-1][1].proprio is None) != (seen.proprio is None):
            raise ValueError("proprio is there in some observations of an episode and missing in others")
        frames = self.frames if len(executed) else self.frames[:-1]
        step = self.step + len(executed)
        # One model step more than a context spans, for the prediction of the newest frame.
        oldest = step - self.spec.history * self.spec.action_block
        begin = max((index for index, (at, _) in enumerate(frames) if at <= oldest), default=0)
        actions = torch.cat([self.actions, executed])[-(step - oldest) :]
        return FrameHistory(self.spec, (*frames[begin:], (step, seen)), actions)

    def context(self, back: int = 0) -> list[Moment]:
        """The moments, oldest first, of a context that ends `back` robot steps before the newest frame; maybe none."""
        moments: list[Moment] = []
        for index in range(self.spec.history):
            moment = self._at(self.step - back - index * self.spec.action_block)
            if moment is None:
                break
            moments.append(moment)
        return moments[::-1]

    def executed(self, steps: int, back: int = 0) -> Tensor:
        """The actions of `steps` robot steps up to `back` before the newest frame, as blocks (steps / block, A)."""
        assert self.actions is not None
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


def encode_together(model: WorldModel, moments: Sequence[Moment]) -> None:
    """Encode every frame of the moments that has no latent yet, as one batch."""
    waiting = {id(seen): seen for moment in moments for seen in (moment.before, moment.after) if seen.latent is None}
    for has_proprio in (True, False):
        group = [seen for seen in waiting.values() if (seen.proprio is not None) == has_proprio]
        if not group:
            continue
        frames = group[0].frames
        if isinstance(frames, Tensor):
            together = torch.cat([seen.frames for seen in group])  # type: ignore[misc]
        else:
            together = {name: torch.cat([seen.frames[name] for seen in group]) for name in frames}  # type: ignore[assignment, index]
        proprio = torch.cat([seen.proprio for seen in group]) if has_proprio else None  # type: ignore[misc]
        with torch.inference_mode():
            latents = model.encode(together, proprio)[:, 0]  # (N, *latent)
        for index, seen in enumerate(group):
            seen.latent = latents[index : index + 1]
