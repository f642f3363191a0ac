"""Planning without any care for speed: what the figures are compared with.

Every candidate is carried alone: its context is repeated, every frame of the window goes through every layer at every
step, nothing is kept from one step to the next, and layers are torch's own: linear maps with no packed weights, one
masked attention over the window.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from wmplan.bench.problem import Problem
from wmplan.models.base import WorldModel
from wmplan.models.jepa import JEPA
from wmplan.models.released.dino_wm import DinoWM
from wmplan.models.released.frame_causal import FrameCausalModel, KVCache
from wmplan.models.released.lewm import LeWM


class MaskedCache(KVCache):
    """No memory: all frames attend to all, and a mask takes away the later ones."""

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """See KVCache.attend."""
        frame = torch.arange(queries.shape[2], device=queries.device) // self.tokens
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=frame[:, None] >= frame)


def plain_step(model: WorldModel, latents: Tensor, actions: Tensor) -> Tensor:
    """The latent (n, *latent) after windows of latents (n, f, *latent), each beside its normalised action (n, f, A).

    As the models do, it computes in the type of the weights and keeps latents in float32 at least.
    """
    if isinstance(model, JEPA):
        out: Tensor = model.predictor(latents, actions)
        return out
    assert isinstance(model, FrameCausalModel)
    conditions, memory = model.condition(actions), MaskedCache(model.frame_tokens, keep=False)
    if isinstance(model, LeWM):
        every = model.predictor(latents.to(model.dtype), conditions, 0, memory, newest_only=False)
        projected: Tensor = model.pred_proj(every.flatten(0, 1)).unflatten(0, latents.shape[:2])
        return projected[:, -1].to(model.latent_dtype)
    assert isinstance(model, DinoWM)
    tokens: Tensor = model.predictor(model.join(latents, conditions), 0, memory, newest_only=False)
    return tokens[:, -1, :, : model.visual_dim + model.proprio_emb_dim].to(model.latent_dtype)


@torch.inference_mode()
@torch.enable_grad()  # weights are packed where no gradient is asked for; inference mode keeps none all the same
def plain_rollout(problem: Problem, actions: Tensor) -> Tensor:
    """Predicted latents (B, S, H, *latent) of candidates (B, S, H, A), as WorldModel.rollout gives them."""
    model, (batch, samples, horizon, _) = problem.model, actions.shape
    assert isinstance(model, JEPA | FrameCausalModel)
    window = model.spec.history if isinstance(model, JEPA) else model.window
    context, past = problem.context, problem.past_actions
    if isinstance(model, JEPA):  # its window is always full: a robot that stood still before
        missing = window - context.shape[1]
        context = torch.cat([context[:, :1].expand(-1, missing, -1), context], dim=1)
        past = torch.cat([past.new_zeros(batch, missing, past.shape[2]), past], dim=1)
    latents = context[:, None].expand(-1, samples, *context.shape[1:]).flatten(0, 1)  # (n, T, *latent)
    sequence = torch.cat([past[:, None].expand(-1, samples, -1, -1), actions], dim=2).flatten(0, 1)
    sequence = model.normalise_actions(sequence)  # (n, T - 1 + H, A)
    time = latents.shape[1]
    for step in range(horizon):
        end = time + step
        start = max(0, end - window)
        after = plain_step(model, latents[:, start:end], sequence[:, start:end])
        latents = torch.cat([latents, after[:, None]], dim=1)
    return latents[:, time:].unflatten(0, (batch, samples))


def plain_cem(problem: Problem, samples: int, horizon: int, iterations: int, elites: int, seed: int = 0) -> Tensor:
    """The mean (B, H, A) that a textbook's cross-entropy method ends with, one environment after the other."""
    low, high = (bound.to(problem.context.device) for bound in problem.model.spec.block_bounds())
    generator = torch.Generator(problem.context.device).manual_seed(seed)
    means = []
    for row in range(len(problem.context)):
        part = slice(row, row + 1)
        one = Problem(problem.model, problem.context[part], problem.goal[part], problem.past_actions[part])
        mean = torch.zeros(horizon, len(low), device=low.device)
        std = ((high - low) / 2).expand(horizon, -1)
        for _ in range(iterations):
            noise = torch.randn(samples, horizon, len(low), generator=generator, device=low.device)
            candidates = (mean + std * noise).clamp(low, high)
            predicted = plain_rollout(one, candidates[None])[0, :, -1]  # (S, *latent)
            costs = (predicted - one.goal).flatten(1).square().mean(1)
            best = candidates[costs.argsort()[:elites]]
            mean, std = best.mean(0), best.std(0) if elites > 1 else torch.zeros_like(mean)
        means.append(mean)
    return torch.stack(means)
