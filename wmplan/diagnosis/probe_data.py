"""Latents and true states of fresh episodes, which a probe is fitted and measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from wmplan.data.episode import episode_rng, run_episode
from wmplan.data.policies import policy_of
from wmplan.environment import PlanningEnvironment, PlanningTask
from wmplan.models.base import WorldModel
from wmplan.models.state_probe import StateProbe, state_errors
from wmplan.random_streams import Stream

STEPS, STRIDE = 100, 2
"""Robot steps of an episode, and from one frame that is encoded to the next."""


@dataclass(frozen=True, eq=False)
class ProbeData:
    """Latents and true states of fresh episodes, those of whole episodes held back for the figures.

    Attributes:
        latents: of shape (N, *latent).
        states: of shape (N, D).
        held_latents, held_states: the same, not to be fitted on.
        names: of the entries of a state.
    """

    latents: Tensor
    states: Tensor
    held_latents: Tensor
    held_states: Tensor
    names: tuple[str, ...]

    def errors(self, probe: StateProbe, task: PlanningTask) -> dict[str, dict[str, float]]:
        """Median and 90 % quantile of the held-out error of each entry of the state, and as the task's distance."""
        read, true = probe(self.held_latents).double().cpu().numpy(), self.held_states.double().numpy()
        columns = dict(zip(self.names, state_errors(read, true, self.names).T, strict=True))
        columns["distance"] = np.asarray(task.distance(read, true))
        return {name: {"median": float(np.median(e)), "p90": float(np.quantile(e, 0.9))} for name, e in columns.items()}


@torch.inference_mode()
def collect_probe_data(
    env: PlanningEnvironment,
    model: WorldModel,
    episodes: int,
    seed: int,
    *,
    proprio: bool,
) -> ProbeData:
    """Encode every STRIDE-th frame of fresh episodes of the collection policy; one episode in six is held back.

    Their seeds are of a stream that neither collection nor evaluation draws from.
    """
    latents, states = [], []
    for episode in tqdm(range(episodes), desc="fresh episodes", unit="episode", disable=None):
        rng = episode_rng(seed, episode, Stream.PROBE)
        columns = run_episode(env, rng, STEPS, pixels=False, policy=policy_of(model.card))
        kept = range(0, len(columns["action"]), STRIDE)
        frames = []
        for step in kept:
            env.set_state(columns["physics_state"][step])
            frames.append(env.render(model.spec.image_size))
        pictures = torch.from_numpy(np.stack(frames))[None].to(model.device)
        own = torch.from_numpy(columns["proprio"][kept])[None].to(model.device) if proprio else None
        latents.append(model.encode(pictures, own)[0].cpu())
        states.append(torch.from_numpy(columns["state"][kept]))
    held = max(episodes // 6, 1)
    return ProbeData(
        torch.cat(latents[held:]), torch.cat(states[held:]), torch.cat(latents[:held]), torch.cat(states[:held]),
        tuple(env.task.state_names),
    )  # fmt: skip
