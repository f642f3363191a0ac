"""One episode of the scripted exploration policy, and the random numbers it comes from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.data.environment import PlanningEnvironment

COLLECTION, EVALUATION = 0, 1
"""Streams of episode seeds: no episode of evaluation can be one of a collection, whatever their seeds."""


def episode_rng(seed: int, episode: int, stream: int = COLLECTION) -> np.random.Generator:
    """The generator of one episode, which depends on nothing but the seed, the stream and the episode's number."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, episode)))


def run_episode(
    env: PlanningEnvironment, rng: np.random.Generator, steps: int, *, variation: bool = False, pixels: bool = True
) -> dict[str, NDArray[Any]]:
    """Run the task's exploration policy from a random start.

    Args:
        env: the unwrapped environment.
        rng: the only source of randomness.
        steps: robot steps.
        variation: give the episode a look and physics of its own.
        pixels: draw the frames.

    Returns:
        Columns of steps + 1 rows, row t being what was seen at step t and what was done then, as the public data
        sets have it: `pixels` uint8 (H, W, 3), `action` float32 (A,) exactly as it was executed and NaN in the last
        row, `proprio` float32 (P,), `state` float32 (D,) (the task state), `physics_state` float64 (N,) (the full
        state), and with variation one column `variation.NAME` a factor, the same in every row.
    """
    env.reset(seed=int(rng.integers(2**31)), options={"variation": True} if variation else None)
    policy = env.exploration_policy(rng)
    low, high = env.task.action_low.astype(np.float32), env.task.action_high.astype(np.float32)
    rows: dict[str, list[NDArray[Any]]] = {"action": [], "proprio": [], "state": [], "physics_state": []}
    if pixels:
        rows["pixels"] = []
    for step in range(steps + 1):
        state = env.task_state()
        if pixels:
            rows["pixels"].append(env.draw(env.image_size))
        rows["proprio"].append(env.task.proprio(state).astype(np.float32))
        rows["state"].append(state.astype(np.float32))
        rows["physics_state"].append(env.get_state())
        if step < steps:
            action = np.clip(policy(state).astype(np.float32), low, high)
            env.advance(action)  # type: ignore[arg-type]
        else:
            action = np.full_like(low, np.nan)
        rows["action"].append(action)
    columns = {name: np.stack(values) for name, values in rows.items()}
    for name, factor in env.variation.factors.items() if variation else ():
        columns[f"variation.{name}"] = np.repeat(np.asarray(factor, np.float64)[None], steps + 1, axis=0)
    return columns
