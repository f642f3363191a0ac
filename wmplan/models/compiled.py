"""Rollouts through torch.compile, and CUDA graphs: what planner.compile asks for.

A search calls a model many times with the same few shapes. Compiled, the small operations between the matrix products
become one kernel each; as a CUDA graph, a rollout is sent to the GPU in one call in place of hundreds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from wmplan.errors import UserError
from wmplan.models.base import WorldModel
from wmplan.models.latent_memory import LatentMemory
from wmplan.models.predictors import RecurrentPredictor

ROLLOUTS = ("rollout", "rollout_last", "rollout_at")
SHAPES = 128
"""Versions of one rollout that are kept: contexts grow, plans shorten towards their arrival, samples become fewer."""
BACKEND = "inductor"
KEPT_OUTSIDE = ((LatentMemory, "recall"), (RecurrentPredictor, "remember"))
"""What looks for contexts that are known, which is no matter of shapes: each new one would be compiled anew."""
Rollout = Callable[..., Tensor]


def compile_rollouts(model: WorldModel, how: str) -> WorldModel:
    """The same model, of the same weights, whose rollouts torch.compile makes where no gradient is asked for.

    The model that is given stays as it is: what else asks it for rollouts asks in shapes of its own.

    Args:
        how: "no", "default", or "graphs" for CUDA graphs.

    Raises:
        UserError: if graphs are asked for without CUDA.
    """
    if how == "no":
        return model
    if how == "graphs" and model.device.type != "cuda":
        raise UserError(f"compile=graphs needs a model on CUDA, this one is on {model.device.type}: compile=default")
    for owner, name in KEPT_OUTSIDE:
        if not hasattr(getattr(owner, name), "_torchdynamo_disable"):  # not when loading: it brings the compiler
            setattr(owner, name, torch.compiler.disable(getattr(owner, name)))
    fast = copy.copy(model)  # of the same parts
    for name in ROLLOUTS:  # as attributes past nn.Module, of which they are no part
        fast.__dict__[name] = _Compiled(getattr(model, name), "reduce-overhead" if how == "graphs" else None)
    return fast


class _Compiled:
    """A rollout, compiled at its first call; plain where a gradient is asked for."""

    def __init__(self, plain: Rollout, mode: str | None) -> None:
        self.plain, self.mode = plain, mode
        self.fast: Rollout | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "fast": None}  # what was compiled is of this model, not of its copy

    def __call__(self, *args: Any) -> Tensor:
        if torch.is_grad_enabled() and not torch.is_inference_mode_enabled():
            return self.plain(*args)
        if self.fast is None:
            dynamo: Any = torch._dynamo.config
            dynamo.recompile_limit = max(dynamo.recompile_limit, SHAPES)
            self.fast = torch.compile(self.plain, backend=BACKEND, mode=self.mode if BACKEND == "inductor" else None)
        found = self.fast(*args)
        return found if self.mode is None else found.clone()  # the next replay of a graph writes where this result is
