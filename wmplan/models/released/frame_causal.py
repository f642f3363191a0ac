"""Rollouts of transformers that are causal over frames, without computing anything twice that candidates share.

All families here predict the next frame's latent from a window of the newest frames, each beside its action. A frame
sees itself and the frames before it, so

* what the frames before the newest one leave behind (keys and values) is the same for all candidates: it is computed
  once for each environment;
* as long as the window grows, a new frame only attends to what the frames before it left behind; once the window
  slides, every frame changes its place in it, and the window is computed anew, with all the frames that it holds or,
  where `window_restart` says so, with the newest of them alone;
* only the newest frame's output is needed, so the last layer computes no other;
* candidates go through in chunks, so that the memory does not grow with their number.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from wmplan import device
from wmplan.errors import UserError
from wmplan.malloc import keep_freed_memory
from wmplan.models.base import Frames, ModelSpec, WorldModel
from wmplan.models.checkpoint import require_finite
from wmplan.models.errors import CheckpointError
from wmplan.models.released.architecture import read_size
from wmplan.models.released.objectives import Objective
from wmplan.models.sizing import build_to_fit, shapes_of


class KVCache:
    """Keys and values of the frames that new ones attend to, layer by layer.

    Args:
        tokens: M, the tokens of one frame.
        shared: what all candidates of an environment have in common, of B rows, or None.
        rows: the row of `shared` that each of the n candidates reads, of shape (n,).
        keep: whether later frames will attend to those that pass now.
    """

    def __init__(
        self, tokens: int, shared: KVCache | None = None, rows: Tensor | None = None, keep: bool = True
    ) -> None:
        self.tokens, self.keep = tokens, keep
        self._shared, self._rows = shared, rows
        self._own: dict[int, tuple[Tensor, Tensor]] = {}

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values that the frames passing now may attend to, both of shape (n, heads, tokens, dim_head)."""
        if layer in self._own:
            keys = torch.cat([self._own[layer][0], keys], dim=2)
            values = torch.cat([self._own[layer][1], values], dim=2)
        if self.keep:
            self._own[layer] = keys, values
        if self._shared is None:
            return keys, values
        before = [self._take(part) for part in self._shared._own[layer]]
        return torch.cat([before[0], keys], dim=2), torch.cat([before[1], values], dim=2)

    def _take(self, part: Tensor) -> Tensor:
        """The rows (n, ...) of a shared tensor (B, ...); a single row is not copied."""
        assert self._rows is not None
        return part.expand(len(self._rows), *part.shape[1:]) if part.shape[0] == 1 else part[self._rows]

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attention of the newest frames to themselves and to those before, full inside a frame.

        Args:
            layer: index of the layer.
            queries: of whole frames, the newest last, of shape (n, heads, frames x M, dim_head).
            keys, values: of the frames passing now, at least as many as there are queries.

        Returns:
            Of the shape of queries; the scale is dim_head ** -0.5.
        """
        keys, values = self.extend(layer, keys, values)
        asking, seen = queries.shape[2] // self.tokens, keys.shape[2] // self.tokens
        if asking == 1 and self.tokens == 1:  # a handful of keys: the library's kernels cost more than the arithmetic
            weights = (queries * keys).sum(-1, keepdim=True).mul(queries.shape[-1] ** -0.5).softmax(dim=2)
            return (weights * values).sum(2, keepdim=True)
        if asking == seen and self.tokens == 1:
            return F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        if asking == 1:
            return F.scaled_dot_product_attention(queries, keys, values)
        each = queries.unflatten(2, (asking, self.tokens)).unbind(2)  # a frame sees whole frames: no mask is needed
        before = [(seen - asking + i + 1) * self.tokens for i in range(asking)]
        frames = zip(each, before, strict=True)
        outs = [F.scaled_dot_product_attention(one, keys[:, :, :n], values[:, :, :n]) for one, n in frames]
        return torch.cat(outs, dim=2)


class FrameCausalModel(WorldModel):
    """A world model whose predictor is a transformer over a window of frames.

    Attributes:
        kind: the family's name in configurations.
        family: its name in errors.
        window: the most frames that the predictor sees.
        window_restart: frames, the new one among them, that a window begins anew with when it was full. As many as it
            holds lose nothing but the oldest; with fewer the rest of a plan is predicted from a shorter past, in fewer
            passes: from one frame on, 5 steps of a window of 3 take 5 passes of a frame in place of 9.
        frame_tokens: M, tokens of one frame in the predictor.
        max_batch_bytes: bound on what the candidates in one pass may take, beside the result.
    """

    kind: ClassVar[str]
    family: ClassVar[str]
    window: int
    window_restart: int | None = None
    frame_tokens: int
    max_batch_bytes: int = 2**28

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self._architecture: dict[str, Any] = {}

    @classmethod
    @abstractmethod
    def _sized(cls, architecture: Mapping[str, Any], spec: ModelSpec | None) -> Self:
        """What build() does, by family."""

    @classmethod
    def build(cls, architecture: Mapping[str, Any], spec: ModelSpec | None = None) -> Self:
        """The model without weights.

        Args:
            architecture: sizes, under the field names of the fixtures' config.json.
            spec: what the release leaves out; actions and robot state are taken as normalised when it is left out.

        Raises:
            CheckpointError: naming the size that is missing or wrong, or where spec and sizes do not agree.
        """
        try:
            model = cls._sized(architecture, spec)
        except CheckpointError:
            raise
        except ValueError as error:
            raise CheckpointError(f"the sizes of the {cls.family} do not fit together: {error}") from error
        if "window_restart" in architecture:
            model.window_restart = read_size(architecture, "window_restart", most=model.window)
        model._architecture = {name: value for name, value in architecture.items() if name != "kind"}
        return model

    @classmethod
    def from_state_dict(
        cls, tensors: Mapping[str, Tensor], architecture: Mapping[str, Any], spec: ModelSpec | None = None
    ) -> Self:
        """The model of any size from the tensors of a release, prefixes stripped.

        Raises:
            CheckpointError: when tensors, architecture and spec do not fit together, or tensors are not finite.
        """
        given = {name: tensor for name, tensor in cls.renamed(tensors).items() if not cls.ignored(name)}
        source = f"the {cls.family} checkpoint"
        require_finite(given, source)
        model = build_to_fit(lambda: cls.build(architecture, spec), shapes_of(given), source)
        model.load_state_dict(given, strict=True)
        return model.eval()

    @staticmethod
    def renamed(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The tensors under our names, where a release has several."""
        return tensors

    @staticmethod
    def ignored(name: str) -> bool:
        """Whether a release may hold this tensor although nothing uses it."""
        return False

    @property
    def architecture(self) -> dict[str, Any]:
        """Sizes by the names of the fixtures' config.json, and `kind`."""
        return {"kind": self.kind, **self._architecture}

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and of what the networks compute in."""
        return next(self.parameters()).dtype

    @property
    def computes_in(self) -> torch.dtype:
        return self.dtype

    def compute_in(self, dtype: torch.dtype) -> None:
        """See WorldModel; frames are encoded in the same type."""
        if dtype not in (torch.float32, torch.bfloat16):
            super().compute_in(dtype)
        if dtype != self.dtype:
            with torch.inference_mode(False):  # see load()
                self.to(dtype)

    @property
    def latent_dtype(self) -> torch.dtype:
        """Of latents and actions: float32 at least, or a pose in bfloat16 would be off by millimetres."""
        return torch.promote_types(self.dtype, torch.float32)

    @abstractmethod
    def condition(self, actions: Tensor) -> Tensor:
        """What the predictor makes of normalised actions (n, f, A) before it sees frames, of shape (n, f, ...)."""

    @abstractmethod
    def advance(self, latents: Tensor, conditions: Tensor, slot: int, memory: KVCache) -> Tensor:
        """The latent after the newest frame.

        Args:
            latents: of f new frames, of shape (n, f, *latent).
            conditions: what condition() gave for their actions.
            slot: place of the first of them in the window, 0 for the oldest.
            memory: the frames before them; holds these too afterwards.

        Returns:
            Of shape (n, *latent).
        """

    @abstractmethod
    def candidate_bytes(self, frames: int, kept: int) -> int:
        """Memory that one candidate takes in a pass of `frames` frames, `kept` frames staying in the memory."""

    @abstractmethod
    def native_objective(self) -> Objective:
        """The cost that the family's paper plans with."""

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        """Predicted latents under candidate action sequences: see WorldModel.rollout."""
        return self._rollout(context, actions, past_actions, last_only=False)

    def rollout_last(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        return self._rollout(context, actions, past_actions, last_only=True)

    def rollout_bytes(self, horizon: int) -> int:
        # While an objective reads them; a pass has a bound of its own.
        return 4 * self.latent_dtype.itemsize * math.prod(self.spec.latent_shape)

    def _rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None, last_only: bool) -> Tensor:
        self.check_rollout(context, actions, past_actions)
        if device.is_read_at_once(context) and not torch.isfinite(context[:, -1]).all():
            raise UserError("the context is not finite: robot state was left out, or a frame was encoded wrongly")
        if self.device.type == "cpu" and not torch.compiler.is_compiling():
            keep_freed_memory()
        context = context.to(self.device, self.latent_dtype)
        past = None
        if past_actions is not None and past_actions.shape[1] > 0:
            past = self.normalise_actions(past_actions)
        return self._predict(context, self.normalise_actions(actions), past, last_only)

    def _predict(self, context: Tensor, actions: Tensor, past_actions: Tensor | None, last_only: bool) -> Tensor:
        """What _rollout() does, of checked latents and normalised actions; past_actions is None where T is 1."""
        batch, count, horizon, _ = actions.shape
        shared_conditions = None if past_actions is None else self.condition(past_actions)
        candidates = actions.flatten(0, 1)  # (B, S, H, A) -> (n, H, A)
        rows = torch.arange(batch, device=context.device).repeat_interleave(count)
        shared: dict[int, KVCache | None] = {}
        for start in self._window_starts(context.shape[1], horizon):
            shared[start] = self._share(context, shared_conditions, start)
        size = self._chunk(context.shape[1], horizon)
        predicted = [
            self._rollout_chunk(context, candidates[i : i + size], rows[i : i + size], shared, last_only)
            for i in range(0, batch * count, size)
        ]
        return torch.cat(predicted).unflatten(0, (batch, count))  # (n, H, *latent) -> (B, S, H, *latent)

    def normalise_actions(self, actions: Tensor) -> Tensor:
        """Actions in the robot's units (..., A) as the predictor takes them."""
        block = self.spec.action_block
        return self._standardise(actions, self.spec.action_mean * block, self.spec.action_std * block)

    def normalise_proprio(self, proprio: Tensor) -> Tensor:
        """Robot state in its own units (..., P) as the model takes it."""
        return self._standardise(proprio, self.spec.proprio_mean, self.spec.proprio_std)

    def _standardise(self, values: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
        values = values.to(self.device, self.latent_dtype)
        return (values - values.new_tensor(mean)) / values.new_tensor(std)

    def _window_starts(self, time: int, horizon: int) -> list[int]:
        """First frame of the window at each step, frames counted from the oldest of the context."""
        starts = [max(0, time - self.window)]
        for end in range(time + 1, time + horizon):
            full = end - starts[-1] > self.window
            starts.append(end - (self.window_restart or self.window) if full else starts[-1])
        return starts

    def _share(self, context: Tensor, conditions: Tensor | None, start: int) -> KVCache | None:
        """What the context frames from `start` to the one before the newest leave behind, once for each environment."""
        if conditions is None or start >= context.shape[1] - 1:
            return None
        memory = KVCache(self.frame_tokens)
        self.advance(context[:, start:-1], conditions[:, start:], 0, memory)
        return memory

    def _rollout_chunk(
        self, context: Tensor, actions: Tensor, rows: Tensor, shared: Mapping[int, KVCache | None], last_only: bool
    ) -> Tensor:
        """Predictions (n, H or 1, *latent) for candidates (n, H, A) of the environments `rows` (n,)."""
        time = context.shape[1]
        newest = time - 1  # the first frame whose action differs between candidates
        conditions = self.condition(actions)
        latents = [context[rows, newest]]
        starts = self._window_starts(time, actions.shape[1])
        memory: KVCache | None = None
        for step, start in enumerate(starts):
            if memory is None or start != starts[step - 1]:
                memory = KVCache(self.frame_tokens, shared[start], rows)
                first = max(start, newest)
            else:
                first = newest + step
            memory.keep = step + 1 < len(starts) and starts[step + 1] == start
            new = torch.stack(latents[first - newest :], dim=1)  # (n, f, *latent)
            latents.append(self.advance(new, conditions[:, first - newest : step + 1], first - start, memory))
        return torch.stack(latents[-1:] if last_only else latents[1:], dim=1)

    def _chunk(self, time: int, horizon: int) -> int:
        """Candidates in one pass, such that they stay within max_batch_bytes."""
        slides = time + horizon - 1 > self.window
        frames = min(horizon, self.window) if slides else 1
        kept = min(horizon - 1, self.window)
        return max(1, self.max_batch_bytes // max(1, self.candidate_bytes(frames, kept)))

    def pick_camera(self, frames: Frames) -> Tensor:
        """The frames of the one camera these models see.

        Raises:
            ValueError: when a mapping lacks it.
        """
        if isinstance(frames, Tensor):
            return frames
        name = self.spec.cameras[0]
        if name not in frames:
            raise UserError(f"frames come from the cameras {', '.join(frames)}, the model sees {name!r}")
        return frames[name]

    def check_frames(self, frames: Tensor) -> None:
        """Raise a ValueError unless frames are uint8 RGB (B, T, H, W, 3); any size will do, the model resizes."""
        if frames.dtype != torch.uint8:
            raise UserError(f"frames must be uint8 RGB, got {str(frames.dtype).removeprefix('torch.')}")
        if frames.ndim != 5 or frames.shape[-1] != 3 or 0 in frames.shape:
            raise UserError(f"frames have shape {tuple(frames.shape)}, the model takes (B, T, H, W, 3)")
